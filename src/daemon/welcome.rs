//! What `--demo` says to a newcomer, if standard output takes it at once.

use super::sink::reopen;
use crate::cli::{
    DEFAULT_SOCKET_PATH,
    daemon::{Options, Workload},
};
use nix::{
    errno::Errno,
    sys::stat::{SFlag, fstat},
    unistd::write,
};
use std::{env, io, os::fd::AsFd, path::Path};

/// Tells a newcomer what there is to try. Only `--demo` says anything.
pub(crate) fn welcome(options: &Options, addresses: &[String]) {
    if options.workload != Workload::Demo {
        return;
    }
    let address = addresses.first().map_or("?", String::as_str);
    // Under `cargo run` the client is neither built nor on the path.
    let client = if env::var_os("CARGO").is_some() {
        "cargo run --release --bin einhyrningsinsctl --"
    } else {
        "einhyrningsinsctl"
    };
    let path = options.socket_path.display();
    let default = options.socket_path == Path::new(DEFAULT_SOCKET_PATH);
    let socket = if default { String::new() } else { format!(" -d {path}") };
    let text = format!(
        "\nThe demo serves on http://{address}/ with {} workers. Try, in another terminal:\n\n  \
         # which worker answers?\n  curl http://{address}/\n  \
         # how do things stand?\n  {client}{socket} status\n  \
         # replace every worker, drop no request\n  {client}{socket} upgrade\n  \
         # shut down (or press Ctrl-C here)\n  {client}{socket} die\n\n",
        options.number
    );
    // The demo goes on without its words if nobody can read them.
    let _ = say(io::stdout(), text.as_bytes());
}

/// Writes as much as is taken without waiting: to a file directly, to anything else over a description of
/// our own, so that those who share it with us find theirs as it was. What cannot be opened again, such as
/// another user's terminal, is told nothing.
fn say(out: impl AsFd, text: &[u8]) -> Result<usize, Errno> {
    let kind = SFlag::from_bits_truncate(fstat(&out)?.st_mode) & SFlag::S_IFMT;
    if kind == SFlag::S_IFREG { write(out, text) } else { write(reopen(out.as_fd())?, text) }
}
