//! What the kernel tells of processes from outside, in proc(5). Facts only; what they mean is decided
//! elsewhere. Nothing here is asked while nothing happens.

use crate::fsm::id::Pid;
use std::{fs, io};

/// Whether a process has a handler for the signal with that number, as of now.
///
/// # Errors
/// If it is gone, or the kernel does not tell us.
pub(crate) fn catches(pid: Pid, signal: i32) -> io::Result<bool> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    caught(&status, signal).ok_or_else(|| io::Error::other("no SigCgt in its status"))
}

/// Whether a process is stopped, by a signal or a debugger.
///
/// # Errors
/// If it is gone, or the kernel does not tell us.
pub(crate) fn is_stopped(pid: Pid) -> io::Result<bool> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    state(&stat)
        .map(|state| matches!(state, 'T' | 't'))
        .ok_or_else(|| io::Error::other("no state in its stat"))
}

/// The letter behind the name, which is in parentheses and may hold anything, parentheses too.
fn state(stat: &str) -> Option<char> {
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}

/// Whether `SigCgt`, a set of 64 bits in hexadecimal with signal 1 as its lowest, has a signal.
fn caught(status: &str, signal: i32) -> Option<bool> {
    let set = status.lines().find_map(|line| line.strip_prefix("SigCgt:"))?;
    let set = u64::from_str_radix(set.trim(), 16).ok()?;
    let bit = u32::try_from(signal).ok()?.checked_sub(1)?;
    Some(1_u64.checked_shl(bit)? & set != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::libc::{SIGPIPE, SIGUSR1, SIGUSR2};

    #[test]
    fn the_set_of_caught_signals_is_read_bit_by_bit() {
        let status = "Name:\tsh\nSigIgn:\tffffffffffffffff\nSigCgt:\t0000000000000a00\nSeccomp:\t0\n";
        assert_eq!(
            [SIGUSR1, SIGUSR2, SIGPIPE].map(|signal| caught(status, signal)),
            [Some(true), Some(true), Some(false)]
        );
        assert_eq!([0, 65, -1].map(|signal| caught(status, signal)), [None; 3]);
        assert_eq!(caught("Name:\tsh\n", SIGUSR1), None);
        assert_eq!(caught("SigCgt:\tno number\n", SIGUSR1), None);
    }

    #[test]
    fn the_state_stands_behind_whatever_the_name_is() {
        assert_eq!(state("7 (sleep) S 1 7"), Some('S'));
        assert_eq!(state("7 (a) T (b) T 1 7"), Some('T'));
        assert_eq!(state("7"), None);
    }

    #[test]
    fn a_process_is_asked() {
        assert_eq!(catches(Pid(std::process::id()), SIGUSR1).ok(), Some(false));
        assert_eq!(is_stopped(Pid(std::process::id())).ok(), Some(false));
        assert!(catches(Pid(0), SIGUSR1).is_err() && is_stopped(Pid(0)).is_err());
    }
}
