//! The server as its users meet it.

mod access;
mod audit;
mod browsing;
mod ingest;
mod listening;
mod scopes;
mod serving;
mod shipping;
mod spooling;
mod support;
mod tooling;
