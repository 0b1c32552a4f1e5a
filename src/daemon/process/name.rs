//! What the supervisor is called in lists of processes.

use nix::sys::prctl;
use std::ffi::CString;

/// How much of a name the kernel keeps, in bytes; prctl(2), `PR_SET_NAME`.
const KEPT: usize = 15;

/// Gives this process a name, as much of it as can be kept.
pub(crate) fn call_itself(name: &str) {
    let kept = (0..=KEPT.min(name.len())).rev().find_map(|end| name.get(..end));
    if let Some(Ok(name)) = kept.map(CString::new) {
        let _ = prctl::set_name(&name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, thread};

    #[test]
    fn as_much_of_a_name_is_kept_as_there_is_room_for() {
        // A name is one thread's, and this one's nobody else looks at.
        let called = |name: &'static str| {
            let thread = thread::spawn(move || {
                call_itself(name);
                fs::read_to_string("/proc/thread-self/comm").unwrap()
            });
            thread.join().unwrap()
        };
        assert_eq!(called("web"), "web\n");
        assert_eq!(called("fourteen bytes→"), "fourteen bytes\n");
        assert_eq!(called("more than fifteen"), "more than fifte\n");
    }
}
