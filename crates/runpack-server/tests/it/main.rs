//! The server as its users meet it.

mod access;
mod audit;
mod browsing;
mod listening;
mod spooling;
