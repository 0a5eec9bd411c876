//! What the store does not take now is taken later, and nothing is lost.
