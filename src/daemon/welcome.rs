//! What `--demo` says to a newcomer.

use crate::cli::{
    DEFAULT_SOCKET_PATH,
    daemon::{Options, Workload},
};
use std::{
    env,
    io::{self, Write as _},
    path::Path,
};

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
    let _ = io::stdout().write_all(text.as_bytes());
}
