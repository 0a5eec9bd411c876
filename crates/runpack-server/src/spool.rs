//! A spool in front of a store: durable here at once, there later, and nothing lost in between.
