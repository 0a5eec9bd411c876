//! The server as its users meet it.

mod access;
mod audit;
mod listening;
mod spooling;
mod tooling;
