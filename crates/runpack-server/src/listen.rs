//! Sockets: accepting, TLS, deadlines, limits on connections, and a shutdown that loses nothing.
