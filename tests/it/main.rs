//! One integration binary: the real program, real sockets, real files.

mod architecture;
mod proxy;
mod session;
mod support;
