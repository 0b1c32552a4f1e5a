//! The texts of proc(5), read: pure functions from what the kernel wrote to what it says. Which file they
//! come from, and what follows from them, is known elsewhere.
//!
//! Names and command lines in them are whatever a process chose, and a file may end anywhere, since it is
//! read into a buffer of some size. So every function here is total over any bytes, which is what the fuzzers
//! hold it to.

use crate::fsm::id::Pid;
use std::str::{self, FromStr, SplitAsciiWhitespace};

/// The real-time signals that the C library leaves to programs, and a few that it does not.
const REAL_TIME: u64 = u64::MAX << 34;

/// Where a process stands among others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kin {
    /// Who has made it, or has inherited it.
    pub parent: Pid,
    /// Its process group.
    pub group: Pid,
}

/// The letter for the state of a process, from `stat`.
#[must_use]
pub fn state(stat: &[u8]) -> Option<char> {
    behind_the_name(stat)?.next()?.chars().next()
}

/// Its kin, from `stat`, unless it has ended.
#[must_use]
pub fn kin(stat: &[u8]) -> Option<Kin> {
    let mut fields = behind_the_name(stat)?;
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    let mut number = || fields.next()?.parse().ok().map(Pid);
    Some(Kin { parent: number()?, group: number()? })
}

/// When a process was started, in hundredths of a second since the machine was, from `stat`. On every kind of machine that
/// this runs on, user space is told time in that unit (USER_HZ).
#[must_use]
pub fn started(stat: &[u8]) -> Option<u64> {
    behind_the_name(stat)?.nth(19)?.parse().ok()
}

/// The fields of `stat` from the third on: state, parent, group and so on. Before them stands the name in
/// parentheses, which may hold anything, parentheses too.
fn behind_the_name(stat: &[u8]) -> Option<SplitAsciiWhitespace<'_>> {
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    Some(str::from_utf8(stat.get(end.checked_add(1)?..)?).ok()?.split_ascii_whitespace())
}

/// Signals, as a set of 64 bits with signal 1 as its lowest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signals(pub u64);

impl Signals {
    /// Those that a process has handlers for, from `status`.
    #[must_use]
    pub fn caught(status: &[u8]) -> Option<Self> {
        let line = status.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"SigCgt:"))?;
        u64::from_str_radix(str::from_utf8(line).ok()?.trim(), 16).ok().map(Self)
    }

    /// Whether it is one of them; `None` if there is no signal of that number.
    #[must_use]
    pub fn contains(self, signal: i32) -> Option<bool> {
        let bit = u32::try_from(signal).ok()?.checked_sub(1)?;
        Some(1_u64.checked_shl(bit)? & self.0 != 0)
    }

    /// Whether all real-time signals are among them. No program has a use for all. A runtime that keeps every
    /// signal for itself has, as Go's does, whatever its program does about them.
    #[must_use]
    pub fn are_those_of_a_runtime(self) -> bool {
        self.0 & REAL_TIME == REAL_TIME
    }
}

/// The inode in the name of a socket, `socket:[INODE]`, as the links in `fd` have it.
#[must_use]
pub fn socket_inode(link: &[u8]) -> Option<u64> {
    number(link.strip_prefix(b"socket:[")?.strip_suffix(b"]")?)
}

/// Processes, from `children`: numbers with blanks behind them. A last one without is cut off, perhaps.
pub fn children(text: &[u8]) -> impl Iterator<Item = Pid> {
    let whole = text.iter().rposition(|byte| *byte == b' ').and_then(|end| text.get(..end));
    whole.unwrap_or_default().split(|byte| *byte == b' ').filter_map(number).map(Pid)
}

/// What a thread is doing, from `syscall`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// It runs, or waits for something that is no system call, or has ended.
    Other,
    /// It is in a system call.
    Call(Call),
}

/// A system call that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// Its number, in the numbering that the process uses.
    pub number: i64,
    /// Its arguments, as registers have them.
    pub arguments: [u64; 6],
    /// Where the stack of the thread is.
    pub stack: u64,
}

/// `NUMBER`, six arguments, stack and program counter, the latter in hexadecimal; or `-1` and less behind it;
/// or `running`.
#[must_use]
pub fn doing(syscall: &[u8]) -> Option<Doing> {
    let mut words = str::from_utf8(syscall).ok()?.split_ascii_whitespace();
    let first = words.next()?;
    if matches!(first, "running" | "-1") {
        return Some(Doing::Other);
    }
    let number = first.parse().ok()?;
    let mut register = || u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok();
    let mut arguments = [0; 6];
    for argument in &mut arguments {
        *argument = register()?;
    }
    Some(Doing::Call(Call { number, arguments, stack: register()? }))
}

/// What an epoll instance watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interest {
    /// For which events; epoll_ctl(2).
    pub events: u32,
    /// The inode of the file.
    pub inode: u64,
    /// The file system that numbers it, as the kernel has it within.
    pub device: u64,
}

/// All that an epoll instance watches, from its `fdinfo`: a line `tfd: … events: … data: … pos:… ino:… sdev:…`
/// for each, in hexadecimal. Other lines are about the descriptor itself. A last one that was cut off is none.
pub fn interests(fdinfo: &[u8]) -> impl Iterator<Item = Interest> {
    let whole = fdinfo.iter().rposition(|byte| *byte == b'\n').and_then(|end| fdinfo.get(..end));
    whole.unwrap_or_default().split(|byte| *byte == b'\n').filter_map(interest)
}

fn interest(line: &[u8]) -> Option<Interest> {
    let line = str::from_utf8(line).ok().filter(|line| line.starts_with("tfd:"))?;
    let (mut events, mut inode, mut device) = (None, None, None);
    let mut words = line.split_ascii_whitespace();
    while let Some(word) = words.next() {
        // Blanks stand behind some of the colons.
        let (name, value) = word.split_once(':')?;
        let value = if value.is_empty() { words.next()? } else { value };
        let hexadecimal = || u64::from_str_radix(value, 16).ok();
        match name {
            "events" => events = u32::from_str_radix(value, 16).ok(),
            "ino" => inode = hexadecimal(),
            "sdev" => device = hexadecimal(),
            _ => {}
        }
    }
    Some(Interest { events: events?, inode: inode?, device: device? })
}

/// The descriptors in an array of `struct pollfd` that are polled for any of these events; poll(2).
pub fn polled(array: &[u8], events: i16) -> impl Iterator<Item = i32> {
    array.as_chunks::<8>().0.iter().filter_map(move |[a, b, c, d, low, high, ..]| {
        let asked = i16::from_ne_bytes([*low, *high]);
        let fd = i32::from_ne_bytes([*a, *b, *c, *d]);
        (asked & events != 0 && fd >= 0).then_some(fd)
    })
}

/// The descriptors in an `fd_set`, whose words are those of a machine of 64 bits; select(2).
pub fn selected(set: &[u8]) -> impl Iterator<Item = i32> {
    let words = (0_i32..).step_by(64).zip(set.as_chunks::<8>().0);
    words.flat_map(|(first, word)| {
        let word = u64::from_ne_bytes(*word);
        (0..64_i32).filter(move |bit| word >> bit & 1 == 1).filter_map(move |bit| first.checked_add(bit))
    })
}

fn number<T: FromStr>(text: &[u8]) -> Option<T> {
    str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::libc::{POLLIN, POLLOUT, SIGPIPE, SIGUSR1, SIGUSR2};

    #[test]
    fn the_set_of_caught_signals_is_read_bit_by_bit() {
        let status = b"Name:\tsh\nSigIgn:\tffffffffffffffff\nSigCgt:\t0000000000000a00\nSeccomp:\t0\n";
        let caught = Signals::caught(status).unwrap();
        assert_eq!(
            [SIGUSR1, SIGUSR2, SIGPIPE].map(|signal| caught.contains(signal)),
            [Some(true), Some(true), Some(false)]
        );
        assert_eq!([0, 65, -1].map(|signal| caught.contains(signal)), [None; 3]);
        assert_eq!(Signals::caught(b"Name:\tsh\n"), None);
        assert_eq!(Signals::caught(b"SigCgt:\tno number\n"), None);
    }

    #[test]
    fn a_runtime_that_catches_all_signals_is_told_from_a_program_that_catches_many() {
        for (whose, caught, all) in [
            ("Go", 0xffff_fffd_7fc1_feff, true),
            ("Ruby", 0x4201_7e4f, false),
            ("Java", 0x1_0100_5ccd, false),
            ("Erlang", 0x1_0000_4206, false),
            ("nothing", 0, false),
        ] {
            assert_eq!(Signals(caught).are_those_of_a_runtime(), all, "{whose}");
        }
    }

    #[test]
    fn the_state_stands_behind_whatever_the_name_is() {
        assert_eq!(state(b"7 (sleep) S 1 7"), Some('S'));
        assert_eq!(state(b"7 (a) T (b) T 1 7"), Some('T'));
        assert_eq!(state(b"7 (\xff) T 1 7"), Some('T'), "a name need not be text");
        assert_eq!(state(b"7"), None);
    }

    #[test]
    fn the_name_of_a_process_does_not_disturb_its_kin() {
        let kin = |stat: &str| kin(stat.as_bytes());
        let expected = Some(Kin { parent: Pid(7), group: Pid(42) });
        assert_eq!(kin("42 (sh) S 7 42 1 0 -1"), expected);
        assert_eq!(kin("42 (a) Z 9 (b) R 7 42 1"), expected);
        assert_eq!(kin("42 (sh) Z 7 42 1 0 -1"), None, "it has ended");
        for broken in ["", "42 (sh", "42 (sh)", "42 (sh) S 7", "42 (sh) S x 42"] {
            assert_eq!(kin(broken), None, "{broken}");
        }
    }

    #[test]
    fn the_start_of_a_process_stands_nineteen_fields_behind_its_state() {
        let stat = "42 (a) b) S 7 42 1 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 123456 4096 1";
        assert_eq!(started(stat.as_bytes()), Some(123_456));
        assert_eq!(started(b"42 (sh) S 7 42 1 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0"), None);
        assert_eq!(started(b""), None);
    }

    #[test]
    fn children_that_were_cut_off_are_left_out() {
        let read = |text: &str| children(text.as_bytes()).map(|pid| pid.0).collect::<Vec<_>>();
        assert_eq!(read("12 345 "), [12, 345]);
        assert_eq!(read("12 34"), [12], "its last digits may be missing");
        assert_eq!(read("12 x 5 "), [12, 5]);
        assert!(read("").is_empty() && read("7").is_empty() && read(" ").is_empty());
    }

    #[test]
    fn a_system_call_has_a_number_six_arguments_and_a_stack() {
        let line = b"7 0x7ffd0 0x2 0xffffffffffffffff 0x0 0x1 0x8 0x7ffc8 0x7f01\n";
        let call = Call { number: 7, arguments: [0x7ffd0, 2, u64::MAX, 0, 1, 8], stack: 0x7ffc8 };
        assert_eq!(doing(line), Some(Doing::Call(call)));
        for other in ["running\n", "-1 0x7ffc8 0x7f01\n", "-1 0x0 0x0\n"] {
            assert_eq!(doing(other.as_bytes()), Some(Doing::Other), "{other}");
        }
        for broken in ["", "x", "7", "7 0x1 0x2 0x3 0x4 0x5 0x6", "7 1 2 3 4 5 6 7 8"] {
            assert_eq!(doing(broken.as_bytes()), None, "{broken}");
        }
    }

    #[test]
    fn what_an_epoll_instance_watches_stands_among_other_lines() {
        let one = "tfd:        4 events: 80000019 data:                4  pos:0 ino:1b3f sdev:8\n";
        let two = "tfd:        5 events:       1d data: ffffffffffffffff  pos:0 ino:1b40 sdev:8\n";
        let head = "pos:\t0\nflags:\t02\nmnt_id:\t16\nino:\t1058\n";
        let read = |text: &str| interests(text.as_bytes()).collect::<Vec<_>>();
        let expected = [
            Interest { events: 0x8000_0019, inode: 0x1b3f, device: 8 },
            Interest { events: 0x1d, inode: 0x1b40, device: 8 },
        ];
        assert_eq!(read(&format!("{head}{one}{two}")), expected);
        assert_eq!(read(&format!("{head}{one}{}", two.trim_end())), expected[..1], "it may be cut off");
        assert!(read(head).is_empty());
        for broken in ["tfd: 4\n", "tfd: 4 events: x data: 1 pos:0 ino:1 sdev:8\n", "tfd: 4 events:\n"] {
            assert!(read(broken).is_empty(), "{broken}");
        }
    }

    #[test]
    fn descriptors_are_polled_for_some_events_and_not_for_others() {
        let entry = |fd: i32, events: i16| {
            let (fd, events) = (fd.to_ne_bytes(), events.to_ne_bytes());
            [fd[0], fd[1], fd[2], fd[3], events[0], events[1], 0, 0]
        };
        let array = [entry(3, POLLIN), entry(4, POLLOUT), entry(-1, POLLIN), entry(5, POLLIN | POLLOUT)];
        assert_eq!(polled(array.as_flattened(), POLLIN).collect::<Vec<_>>(), [3, 5]);
        assert_eq!(polled(&[0; 7], POLLIN).count(), 0, "half an entry");
    }

    #[test]
    fn descriptors_are_the_bits_of_a_set() {
        let set = [1_u64 << 3 | 1 << 63, 0, 1].map(u64::to_ne_bytes);
        assert_eq!(selected(set.as_flattened()).collect::<Vec<_>>(), [3, 63, 128]);
        assert_eq!(selected(&[]).count(), 0);
    }

    #[test]
    fn a_socket_is_named_by_its_inode() {
        assert_eq!(socket_inode(b"socket:[4242]"), Some(4242));
        for other in ["pipe:[4242]", "socket:[x]", "socket:[1", "/socket:[1]", "socket:[-1]"] {
            assert_eq!(socket_inode(other.as_bytes()), None, "{other}");
        }
    }
}
