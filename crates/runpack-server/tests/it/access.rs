//! Who may do what: tokens, JSON Web Tokens, scopes.
