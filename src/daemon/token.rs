//! The names under which the event loop hears of what it waits for.

use mio::Token;

/// Signals have come.
pub(crate) const SIGNALS: Token = Token(0);
/// Somebody wants to connect to the control socket.
pub(crate) const CONTROL: Token = Token(1);
/// Something has happened to the control socket's file.
pub(crate) const WATCH: Token = Token(2);
/// Signals have come that terminals send, too.
pub(crate) const TERMINAL: Token = Token(3);
/// Workers have notified their manager.
pub(crate) const NOTIFY: Token = Token(4);
/// The listening on one of the workers' sockets has ended.
pub(crate) const LISTENERS: Token = Token(5);
/// A worker has ended that is no child of ours.
pub(crate) const ADOPTED: Token = Token(6);
/// The first of the clients; each connection has one of its own.
pub(crate) const FIRST_CLIENT: usize = 7;
