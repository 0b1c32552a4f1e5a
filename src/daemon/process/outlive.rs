//! Going on as another program in the same process: on command, and after a fault of our own.
//!
//! What the handler of a fault does is async-signal-safe (signal-safety(7)): system calls, and words in memory. All
//! else is prepared when it is armed.

use super::super::{
    clock::monotonic,
    journal::{HANDOVER as VARIABLE, head, leave_words, set, take_words, word},
    memory::Memory,
};
use super::{child::BY_HAND, inherited::default_signal};
use log::error;
use nix::{
    errno::Errno,
    libc::{self, c_char, c_int, c_void, siginfo_t},
    sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction},
};
use std::{
    env,
    ffi::{CStr, CString, OsStr, OsString},
    os::{
        fd::{AsRawFd as _, RawFd},
        unix::ffi::{OsStrExt as _, OsStringExt as _},
    },
    panic, process, ptr,
    rc::Rc,
    sync::atomic::{AtomicPtr, Ordering},
};

/// The faults after which another goes on.
const FAULTS: [Signal; 5] =
    [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGILL, Signal::SIGFPE, Signal::SIGABRT];

/// How long a fault counts against us, in nanoseconds.
const MINUTE: u64 = 60_000_000_000;

/// What the next program is executed with.
struct Next {
    own: c_int,
    memory: Rc<Memory>,
    arguments: Vec<*const c_char>,
    /// The same for the program from before.
    before: Vec<*const c_char>,
    environment: Vec<*const c_char>,
    /// What those point to.
    _strings: Vec<CString>,
}

/// Set once, and never freed: a handler may need it at any moment.
static NEXT: AtomicPtr<Next> = AtomicPtr::new(ptr::null_mut());

/// Has another supervisor go on from the journal in `memory` if this one fails; `before` are the words that the one before
/// was called with.
pub(crate) fn arm(memory: &Rc<Memory>, before: Vec<OsString>) {
    let Some(file) = memory.file() else { return };
    let mut strings = Vec::new();
    let mut add = |text: OsString| {
        // None of them has a zero byte: they came by execve(2).
        let string = CString::new(text.into_vec()).unwrap_or_default();
        let pointer = string.as_ptr();
        strings.push(string);
        pointer
    };
    let mut arguments: Vec<_> = env::args_os().map(&mut add).collect();
    let ours = OsString::from(format!("{VARIABLE}={}:{}", process::id(), file.as_raw_fd()));
    let mut environment: Vec<_> = inherited().chain([add(ours)]).collect();
    let mut before: Vec<_> = before.into_iter().map(&mut add).collect();
    before.push(ptr::null());
    arguments.push(ptr::null());
    environment.push(ptr::null());
    let own = c_int::try_from(process::id()).unwrap_or_default();
    let prepared = Next { own, memory: memory.clone(), arguments, before, environment, _strings: strings };
    NEXT.store(Box::into_raw(Box::new(prepared)), Ordering::Release);
    let flags = SaFlags::SA_SIGINFO | SaFlags::SA_ONSTACK;
    let action = SigAction::new(SigHandler::SigAction(failed), flags, SigSet::all());
    for fault in FAULTS {
        // SAFETY: the handler keeps to what is allowed in one.
        let _ = unsafe { sigaction(fault, &action) };
    }
    panic::set_hook(Box::new(|info| {
        let words = info.to_string().replace('\n', " ");
        error!("{words}");
        if let Some(next) = next() {
            leave_words(&next.memory, &words);
        }
        process::abort();
    }));
}

/// The variables that we were started with, but for ours. They are where the kernel has put them: nobody changes them.
fn inherited() -> impl Iterator<Item = *const c_char> {
    unsafe extern "C" {
        static environ: *const *const c_char;
    }
    // SAFETY: the C library's, and nobody else changes it: an array that ends with a null pointer, if there is any.
    let text = |at| unsafe { environ.as_ref().and_then(|all| ptr::from_ref(all).add(at).read().as_ref()) };
    let is_ours = |text: &c_char| {
        // SAFETY: each pointer leads to a string that ends.
        let text = unsafe { CStr::from_ptr(text) }.to_bytes();
        text.strip_prefix(VARIABLE.as_bytes()).is_some_and(|value| value.starts_with(b"="))
    };
    (0..).map_while(text).filter(move |text| !is_ours(text)).map(ptr::from_ref)
}

fn next() -> Option<&'static Next> {
    // SAFETY: null, or leaked by `arm`, which is called before anything that could race with it.
    unsafe { NEXT.load(Ordering::Acquire).as_ref() }
}

/// The handler of a fault.
extern "C" fn failed(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: system calls without arguments.
    let own = unsafe { libc::getpid() };
    if let Some(next) = next().filter(|next| next.own == own)
        && note(&next.memory, signal, info, context)
    {
        keep_all_open();
        // SAFETY: the arrays end with a null pointer, and are never freed.
        unsafe {
            libc::execve(c"/proc/self/exe".as_ptr(), next.arguments.as_ptr(), next.environment.as_ptr())
        };
    }
    die(signal)
}

/// Writes down what has happened. Answers whether another may go on: three times in a minute.
fn note(memory: &Memory, signal: c_int, info: *mut siginfo_t, context: *mut c_void) -> bool {
    if word(memory, head::CURRENT) == 0 {
        // Nothing is there to go on from.
        return false;
    }
    let now = u64::try_from(monotonic().as_nanos()).unwrap_or(u64::MAX);
    let oldest = head::CRASHES.into_iter().min_by_key(|at| word(memory, *at)).unwrap_or_default();
    let last = word(memory, oldest);
    if last != 0 && now.saturating_sub(last) < MINUTE {
        return false;
    }
    set(memory, oldest, now.max(1));
    let place = word(memory, head::CURRENT);
    let done = word(memory, head::DONE);
    let is_same = word(memory, head::PLACE) == place && word(memory, head::PLACE_DONE) == done;
    let times = if is_same { word(memory, head::TIMES) } else { 0 };
    set(memory, head::PLACE, place);
    set(memory, head::PLACE_DONE, done);
    set(memory, head::TIMES, times.saturating_add(1));
    // SAFETY: the kernel's, for as long as the handler runs.
    let (address, sender) = unsafe {
        let info = &*info;
        let sent = info.si_code <= 0;
        (if sent { 0 } else { info.si_addr() as u64 }, if sent { info.si_pid() } else { 0 })
    };
    set(memory, head::SIGNAL, u64::from(signal.unsigned_abs()));
    set(memory, head::ADDRESS, address);
    set(memory, head::SENDER, u64::from(sender.unsigned_abs()));
    set(memory, head::AT, if sender == 0 { place_in_program(context) } else { 0 });
    true
}

/// Which instruction it was, counted from where the program begins.
#[cfg(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu"))]
fn place_in_program(context: *mut c_void) -> u64 {
    unsafe extern "C" {
        static __executable_start: u8;
    }
    // SAFETY: the kernel's, for as long as the handler runs; of the other only the address is taken.
    let (at, begin) = unsafe {
        let context = &*context.cast::<libc::ucontext_t>();
        let registers = &context.uc_mcontext.gregs;
        (registers.get(libc::REG_RIP as usize).copied().unwrap_or(0), &raw const __executable_start as u64)
    };
    at.cast_unsigned().saturating_sub(begin)
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu")))]
fn place_in_program(_: *mut c_void) -> u64 {
    0
}

/// Ends as such a process does.
fn die(signal: c_int) {
    default_signal(signal);
    // SAFETY: system calls on ourselves. It comes when the handler has returned, if it is not the fault itself again.
    unsafe {
        libc::raise(signal);
    }
}

/// Has every descriptor outlive execve(2). The next program closes what nobody needs.
fn keep_all_open() {
    if !each_descriptor(|fd| set_flags(fd, 0)) {
        (3..=BY_HAND).for_each(|fd| set_flags(fd, 0));
    }
}

/// None but the standard ones outlives execve(2), as before.
pub(crate) fn close_all_on_exec() {
    if !each_descriptor(|fd| set_flags(fd, libc::FD_CLOEXEC)) {
        (3..=BY_HAND).for_each(|fd| set_flags(fd, libc::FD_CLOEXEC));
    }
}

fn set_flags(fd: RawFd, flags: c_int) {
    if fd > libc::STDERR_FILENO {
        // SAFETY: takes any number.
        unsafe { libc::fcntl(fd, libc::F_SETFD, flags) };
    }
}

/// Does something with each open descriptor; answers whether they could be listed. By the system call itself, since
/// readdir(3) allocates.
fn each_descriptor(mut act: impl FnMut(RawFd)) -> bool {
    /// Where in an entry its length is, and its name.
    const LENGTH: usize = 16;
    const NAME: usize = 19;
    let mut buffer = [0_u64; 512];
    // SAFETY: a path, and a buffer of that size.
    let folder = unsafe {
        libc::open(c"/proc/self/fd".as_ptr(), libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC)
    };
    if folder < 0 {
        return false;
    }
    loop {
        // SAFETY: as above.
        let read =
            unsafe { libc::syscall(libc::SYS_getdents64, folder, buffer.as_mut_ptr(), size_of_val(&buffer)) };
        let Ok(read) = usize::try_from(read) else {
            // SAFETY: ours.
            unsafe { libc::close(folder) };
            return false;
        };
        if read == 0 {
            break;
        }
        // SAFETY: that many bytes were written.
        let bytes = unsafe {
            std::slice::from_raw_parts(buffer.as_ptr().cast::<u8>(), read.min(size_of_val(&buffer)))
        };
        let mut at = 0_usize;
        while let Some([low, high]) = bytes.get(at + LENGTH..at + LENGTH + 2) {
            let length = usize::from(u16::from_ne_bytes([*low, *high]));
            let name = bytes.get(at + NAME..at + length).unwrap_or_default();
            let digits = name.iter().take_while(|byte| byte.is_ascii_digit());
            let number = digits.clone().fold(0_i32, |number, digit| {
                number.saturating_mul(10).saturating_add(i32::from(*digit - b'0'))
            });
            if digits.count() > 0 && number != folder {
                act(number);
            }
            if length == 0 {
                break;
            }
            at += length;
        }
    }
    // SAFETY: ours.
    unsafe { libc::close(folder) };
    true
}

/// The descriptor of the program from before, while another has not taken over yet; and forgets it.
fn program_before(memory: &Memory) -> Option<RawFd> {
    let before = word(memory, head::BEFORE).checked_sub(1).and_then(|fd| RawFd::try_from(fd).ok());
    set(memory, head::BEFORE, 0);
    before
}

/// Nobody takes over any more, and so nobody goes back.
pub(crate) fn forget_the_way_back(memory: &Memory) {
    set(memory, head::BEFORE, 0);
    set(memory, head::RETURNED, 0);
}

impl Next {
    /// Returns only if that fails.
    fn execute_open(&self, program: RawFd) {
        let (arguments, environment) = (self.before.as_ptr(), self.environment.as_ptr());
        let empty: &CStr = c"";
        // SAFETY: as in the handler. The system call itself: not every C library has a wrapper for it.
        unsafe {
            libc::syscall(
                libc::SYS_execveat,
                program,
                empty.as_ptr(),
                arguments,
                environment,
                libc::AT_EMPTY_PATH,
            )
        };
    }
}

/// Executes the program at `path`, which is to go on from the journal. Returns only if that fails.
pub(crate) fn go_on_as(path: &OsStr) -> Errno {
    let Ok(path) = CString::new(path.as_bytes()) else { return Errno::EINVAL };
    go_on(|next| {
        // SAFETY: as in the handler.
        unsafe { libc::execve(path.as_ptr(), next.arguments.as_ptr(), next.environment.as_ptr()) };
    })
}

/// Executes the program from before, which goes on, and tells why this one cannot. Returns only if that fails too, with
/// the reason; or if there is none.
pub(crate) fn go_back(memory: &Memory, why: &str) -> Option<Errno> {
    let before = program_before(memory)?;
    leave_words(memory, why);
    set(memory, head::RETURNED, 1);
    Some(go_on(|next| next.execute_open(before)))
}

/// Why the program that was to take over could not, if it is so; and forgets it.
pub(crate) fn returned(memory: &Memory) -> Option<String> {
    if word(memory, head::RETURNED) == 0 {
        return None;
    }
    set(memory, head::RETURNED, 0);
    // It may also have failed in its own way.
    Some(last_fault(memory).or_else(|| take_words(memory)).unwrap_or_default())
}

fn go_on(execute: impl FnOnce(&Next)) -> Errno {
    let Some(next) = next() else { return Errno::ENOSYS };
    keep_all_open();
    execute(next);
    let errno = Errno::last();
    close_all_on_exec();
    errno
}

/// What the last fault was, for people; and forgets it.
pub(crate) fn last_fault(memory: &Memory) -> Option<String> {
    let signal = i32::try_from(word(memory, head::SIGNAL)).ok().filter(|signal| *signal > 0)?;
    set(memory, head::SIGNAL, 0);
    if let Some(words) = take_words(memory) {
        return Some(words);
    }
    let name =
        Signal::try_from(signal).map_or_else(|_| format!("signal {signal}"), |signal| signal.to_string());
    let [address, at, sender] = [head::ADDRESS, head::AT, head::SENDER].map(|place| word(memory, place));
    let instruction =
        if at == 0 { String::new() } else { format!(", at instruction {at:#x} of the program") };
    Some(match sender {
        0 => format!("{name} for address {address:#x}{instruction}"),
        own if own == u64::from(process::id()) => format!("{name}, sent by itself"),
        sender => format!("{name}, sent by process {sender}"),
    })
}

#[cfg(test)]
mod tests {
    use super::{
        super::super::journal::{Journal, read},
        *,
    };
    use crate::fsm::{Supervisor, config::Config};
    use std::{os::unix::process::ExitStatusExt as _, process::Command};

    /// What the process of the next test is told: how often to fail.
    const FAILURES: &str = "EINHYRNINGSINS_TEST_FAILURES";

    /// Runs in a process of its own, which fails, and goes on as itself.
    #[test]
    fn victim() {
        let Some(failures) = env::var(FAILURES).ok().and_then(|failures| failures.parse::<u64>().ok()) else {
            return;
        };
        let announced = env::var(VARIABLE).ok();
        let journal = match &announced {
            None => Journal::new(0).unwrap(),
            Some(value) => {
                let (pid, fd) = value.split_once(':').unwrap();
                assert_eq!(pid, process::id().to_string(), "the same process");
                let file = super::super::adopt_descriptor(fd.parse().unwrap()).unwrap();
                Journal::found(read(file).unwrap().memory)
            }
        };
        let memory = journal.memory();
        if announced.is_some() {
            println!("went on after: {}", last_fault(&memory).unwrap());
        } else {
            journal.compact(&Supervisor::new(Config::default()), |_| {});
        }
        arm(&memory, Vec::new());
        match (word(&memory, head::TIMES), failures % 2) {
            (times, _) if times >= failures => println!("{times} times at the same place"),
            (_, 0) => panic!("on purpose"),
            _ => {
                // They were held back for whoever goes on.
                SigSet::empty().thread_set_mask().unwrap();
                // SAFETY: ends this process, or what it is now.
                unsafe { libc::raise(libc::SIGSEGV) };
            }
        }
    }

    fn run(failures: u32) -> (Option<i32>, Vec<String>) {
        let name = "daemon::process::outlive::tests::victim";
        let mut program = Command::new(env::current_exe().unwrap());
        program
            .args(["--exact", name, "--nocapture", "--test-threads=1"])
            .env(FAILURES, failures.to_string());
        let out = program.output().unwrap();
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        let said = said.lines().filter(|line| line.contains("went on") || line.contains("times at"));
        (out.status.signal(), said.map(str::to_owned).collect())
    }

    #[test]
    fn whoever_fails_goes_on_and_is_told_what_it_was() {
        let (signal, said) = run(2);
        assert_eq!(signal, None, "{said:?}");
        let [first, second, last] = said.as_slice() else { panic!("{said:?}") };
        for said in [first, second] {
            assert!(
                said.contains("panicked at src/daemon/process/outlive.rs") && said.contains("on purpose"),
                "{said}"
            );
        }
        assert_eq!(last, "2 times at the same place");
        let (signal, said) = run(1);
        assert!(signal.is_none() && said[0].contains("went on after: SIGSEGV, sent by itself"), "{said:?}");
    }

    #[test]
    fn three_times_in_a_minute_are_enough() {
        for (failures, signal) in [(8, Signal::SIGABRT), (9, Signal::SIGSEGV)] {
            let (ended_by, said) = run(failures);
            assert_eq!(said.len(), 3, "{said:?}");
            assert_eq!(ended_by, Some(signal as i32), "{said:?}");
        }
    }
}
