//! The audit log: every acceptance and every refusal, one line each, chained by digest.
