//! Sockets: slow, broken and hostile peers.
