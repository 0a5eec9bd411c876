//! The server as its users meet it.

mod access;
mod audit;
mod ingest;
mod listening;
<<<<<<< HEAD
mod shipping;
=======
mod scopes;
mod serving;
>>>>>>> part-http
mod spooling;
mod support;
