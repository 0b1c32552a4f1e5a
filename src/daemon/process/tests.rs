use super::{
    super::{
        directory::Whereabouts,
        memory::{START, STARTS},
        scratch::{Scratch, eventually},
    },
    *,
};
use crate::fsm::{
    action::Scope,
    event::{ExitStatus, Prospect},
    signal::Signal,
};
use child::{borrow, close_by_hand, place};
use inherited::FileLimit;
use moves::Move;
use nix::{
    fcntl::{FcntlArg, fcntl},
    libc,
    sys::resource::{Resource, getrlimit, setrlimit},
    sys::signal::{SigHandler, SigSet, Signal as Number, signal as handle},
    unistd::ForkResult,
};
use reap::ended_of;
use send::group_exists;
use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs::{self, File},
    net::TcpListener,
    num::NonZeroUsize,
    os::fd::{AsFd, BorrowedFd, RawFd},
    path::Path,
    sync::atomic::AtomicU64,
};

fn program(command: &str, arguments: &[&str]) -> Program {
    let environment = [("PATH", "/usr/bin:/bin"), ("FROM", "the generation")];
    let environment = environment.map(|(name, value)| (name.into(), OsString::from(value)));
    let root = Whereabouts::Named("/".into()).open().unwrap();
    Program::pin(OsStr::new(command), arguments, environment, root).unwrap()
}

fn shell(script: &str) -> Program {
    program("/bin/sh", &["-c", script])
}

fn start(spawner: &mut Spawner, program: &Program) -> Child {
    spawner
        .spawn(
            WorkerId(1),
            program,
            Given {
                sockets: &[],
                variables: [Variable::new("SLOT", "0")],
                own_pid: OwnPid::Untold,
                orphaned: None,
            },
        )
        .unwrap()
}

/// Other tests have children too: never reap just any.
fn wait(pid: Pid) -> ExitStatus {
    let ended = eventually("a child's end", || ended_of(pid));
    assert_eq!(ended_of(pid).as_ref(), Some(&ended), "a look takes nothing away");
    let status = ended.status;
    ended.reap();
    assert_eq!(ended_of(pid), None);
    status
}

/// Memory for starts, and where they are in it.
fn memory() -> (Rc<Memory>, usize) {
    let (memory, _) = Memory::new(NonZeroUsize::new(STARTS * START).unwrap()).unwrap();
    (Rc::new(memory), 0)
}

fn spawner() -> Spawner {
    Spawner::new(FileLimit::raise(), None, memory()).unwrap()
}

fn run(program: &Program) -> (ExitStatus, Option<SpawnError>) {
    let mut spawner = spawner();
    let child = start(&mut spawner, program);
    (wait(child.pid), spawner.outcome(child.ticket))
}

/// What a worker that was given these sees: the output of a shell script, by lines of `KEY VALUE`.
fn seen(script: &str, sockets: &[BorrowedFd<'_>], variables: &[Variable<'_>]) -> BTreeMap<String, String> {
    let scratch = Scratch::new();
    let out = scratch.join("out");
    let mut spawner = spawner();
    let program = shell(&format!("{{ {script}\n}} >{} 2>&1", out.display()));
    let child = spawner
        .spawn(
            WorkerId(1),
            &program,
            Given { sockets, variables: variables.iter().copied(), own_pid: OwnPid::Told, orphaned: None },
        )
        .unwrap();
    assert_eq!(wait(child.pid), ExitStatus::Code(0));
    assert_eq!(spawner.outcome(child.ticket), None);
    let out = fs::read_to_string(out).unwrap();
    let pair = |line: &str| line.split_once([' ', '\t', '=']).map(|(a, b)| (a.into(), b.trim().into()));
    out.lines().filter_map(pair).collect()
}

#[test]
fn a_program_runs_and_its_end_is_reported() {
    assert_eq!(run(&shell("exit 7")), (ExitStatus::Code(7), None));
    assert_eq!(run(&shell("kill -KILL $$")), (ExitStatus::Signal(9), None));
    assert_eq!(run(&shell("kill -s RTMIN $$")), (ExitStatus::Signal(libc::SIGRTMIN()), None));
}

#[test]
fn what_cannot_become_the_program_says_at_which_stage_and_why() {
    let scratch = Scratch::new();
    let rest = [
        ("no-interpreter", "#!/nowhere/interpreter\n", Sys::ENOENT, Prospect::NotFound, 127),
        ("no-format", "neither script nor binary\n", Sys::ENOEXEC, Prospect::NotExecutable, 126),
    ];
    let mut cases = Vec::new();
    for (name, text, errno, prospect, code) in rest {
        let path = scratch.file(name, text, 0o755);
        cases.push((program(path.to_str().unwrap(), &[]), errno, prospect, code));
    }
    let path = scratch.file("forbidden", "#!/bin/sh\n", 0o755);
    let forbidden = program(path.to_str().unwrap(), &[]);
    scratch.file("forbidden", "#!/bin/sh\n", 0o644);
    cases.push((forbidden, Sys::EACCES, Prospect::NotExecutable, 126));
    let huge = "x".repeat(4 << 20);
    cases.push((program("/bin/true", &[&huge]), Sys::E2BIG, Prospect::NotExecutable, 126));

    for (program, errno, prospect, code) in cases {
        let error = SpawnError { stage: SpawnStage::Exec, errno: Errno(errno as i32), prospect };
        assert_eq!(run(&program), (ExitStatus::Code(code), Some(error)));
    }
}

#[test]
fn a_program_stays_what_it_was_when_its_name_is_gone_or_means_another() {
    let scratch = Scratch::new();
    let script = scratch.file("script", "#!/bin/sh\nexit 7\n", 0o755);
    let binary = scratch.join("binary");
    fs::copy("/bin/true", &binary).unwrap();
    let programs = [&script, &binary].map(|path| program(path.to_str().unwrap(), &[]));
    let expected = [7, 0].map(|code| (ExitStatus::Code(code), None));
    assert_eq!([run(&programs[0]), run(&programs[1])], expected, "in place");

    for path in [&script, &binary] {
        let other = scratch.file("other", "#!/bin/sh\nexit 9\n", 0o755);
        fs::rename(other, path).unwrap();
    }
    assert_eq!([run(&programs[0]), run(&programs[1])], expected, "replaced");

    for path in [&script, &binary] {
        fs::remove_file(path).unwrap();
    }
    assert_eq!([run(&programs[0]), run(&programs[1])], expected, "removed");
}

#[test]
fn a_program_that_is_being_written_may_work_the_next_time() {
    let scratch = Scratch::new();
    let path = scratch.join("busy");
    fs::copy("/bin/true", &path).unwrap();
    let program = program(path.to_str().unwrap(), &[]);
    let writer = File::options().append(true).open(&path).unwrap();
    let (_, error) = run(&program);
    assert_eq!(
        error.map(|error| (error.errno.0, error.prospect)),
        Some((Sys::ETXTBSY as i32, Prospect::Passing))
    );
    drop(writer);
    // Children of other tests may hold the writer open between their fork and exec.
    eventually("the writer to be gone everywhere", || (run(&program).1.is_none()).then_some(()));
}

#[test]
fn a_variable_that_cannot_be_one_is_refused_before_there_is_a_process() {
    let mut spawner = spawner();
    let given = Given {
        sockets: &[],
        variables: [Variable::new("A", "b\0c")],
        own_pid: OwnPid::Untold,
        orphaned: None,
    };
    let error = spawner.spawn(WorkerId(1), &shell("exit"), given).unwrap_err();
    assert_eq!((error.stage, error.prospect), (SpawnStage::Exec, Prospect::NotExecutable));
}

#[test]
fn a_worker_starts_with_default_signals_and_an_empty_mask() {
    // Rust ignores SIGPIPE in this process.
    let seen = seen("grep ^Sig /proc/self/status", &[], &[]);
    // What was caught cannot survive `execve`; the two others can.
    for key in ["SigBlk:", "SigIgn:"] {
        assert_eq!(seen[key], "0".repeat(16), "{key}");
    }
}

#[test]
fn a_worker_gets_its_own_environment_on_top_of_the_generations() {
    let seen = seen("env", &[], &[Variable::new("EINHORN_CHILD_INDEX", "3"), Variable::new("EMPTY", "")]);
    assert_eq!(seen["FROM"], "the generation");
    assert_eq!(seen["EINHORN_CHILD_INDEX"], "3");
    assert_eq!(seen["EMPTY"], "");
    assert!(!seen.contains_key("CARGO_MANIFEST_DIR"));
}

#[test]
fn a_worker_leads_a_process_group_of_its_own_in_the_pinned_directory() {
    let mut spawner = spawner();
    let child = start(&mut spawner, &shell("sleep 60"));
    assert_eq!(group_of(child.pid), Some(child.pid), "at once, not only when the child comes to it");
    let cwd = format!("/proc/{}/cwd", child.pid);
    eventually("the directory", || (fs::read_link(&cwd).unwrap() == Path::new("/")).then_some(()));
    signal(child.pid, Signal::Kill, Scope::Group, &Children::new()).unwrap();
    assert_eq!(wait(child.pid), ExitStatus::Signal(9));
    eventually("the group's end", || (!group_exists(child.pid)).then_some(()));
    let gone = Err(Errno(Sys::ESRCH as i32));
    assert_eq!(signal(child.pid, Signal::Term, Scope::Group, &Children::new()), gone);
}

mod groups;

#[test]
fn a_worker_has_its_sockets_from_3_on_and_nothing_else() {
    let sockets: Vec<_> = (0..5).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let inodes: Vec<_> =
        sockets.iter().map(|socket| link(&format!("self/fd/{}", socket.as_raw_fd()))).collect();
    let mut expected: BTreeMap<_, _> =
        inodes.iter().enumerate().map(|(i, inode)| (i + 3, inode.clone())).collect();
    expected.insert(0, "/dev/null".into());

    let mut spawner = spawner();
    let given: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
    // A leak of the kind that a supervisor's parent makes: open, and not closed on exec.
    let leak = File::open("/dev/zero").unwrap();
    fcntl(&leak, FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).unwrap();
    let given = Given { sockets: &given, variables: [], own_pid: OwnPid::Untold, orphaned: None };
    let child = spawner.spawn(WorkerId(1), &program("/bin/sleep", &["60"]), given).unwrap();
    // The loader of shared libraries has a file open at times; what leaked would stay.
    eventually("exactly its sockets", || (fds_of(child.pid) == expected).then_some(()));
    signal(child.pid, Signal::Kill, Scope::Process, &Children::new()).unwrap();
    wait(child.pid);
}

/// A child gets sockets from every place, the targets included, in every order.
#[test]
fn sockets_arrive_in_order_wherever_they_are_in_the_parent() {
    let null = File::open("/dev/null").unwrap();
    for order in [[3, 4, 5], [5, 4, 3], [4, 5, 3], [4, 3, 9], [9, 3, 3], [3, 9, 4], [8, 7, 6]] {
        let mut moves = Moves::default();
        moves.arrange(order.into_iter());
        let forked = in_a_child(|| {
            // Only in a child can descriptors be put at will.
            let high = fcntl(&null, FcntlArg::F_DUPFD_CLOEXEC(60)).unwrap();
            for fd in 3..10 {
                if order.contains(&fd) {
                    // The size of a pipe's buffer tells them apart.
                    let pipe = nix::unistd::pipe2(OFlag::O_CLOEXEC).unwrap();
                    let from = fcntl(&pipe.0, FcntlArg::F_DUPFD_CLOEXEC(50)).unwrap();
                    let mark = 4096 << (fd - 3);
                    fcntl(borrow(from), FcntlArg::F_SETPIPE_SZ(mark)).unwrap();
                    // Its numbers may be among those that are put to use.
                    std::mem::forget(pipe);
                    place(from, fd).unwrap();
                }
            }
            if hand_over(high, &moves).is_err() {
                return 1;
            }
            let right = (3..).zip(order).all(|(fd, source)| {
                let kept = fcntl(borrow(fd), FcntlArg::F_GETFD) == Ok(0);
                kept && fcntl(borrow(fd), FcntlArg::F_GETPIPE_SZ) == Ok(4096 << (source - 3))
            });
            let closed = (6..100).all(|fd| fcntl(borrow(fd), FcntlArg::F_GETFD) == Err(Sys::EBADF));
            if right && closed { 0 } else { 2 }
        });
        assert_eq!(forked, ExitStatus::Code(0), "{order:?}");
    }
}

/// Does what a child does with its descriptors, and nothing else of what it does.
fn hand_over(null: RawFd, moves: &Moves) -> Result<(), Sys> {
    let verdict = AtomicU64::new(0);
    let plan = Plan {
        nice: None,
        orphaned: None,
        verdict: &verdict,
        parent: unistd::getpid(),
        null,
        directory: Some(-1),
        moves: moves.list(),
        signals: &[],
        end: moves.end(),
        files: None,
        displaced: None,
        executable: ptr::null(),
        arguments: &[],
        environment: &[],
        own_pid: None,
    };
    plan.hand_over()
}

/// However many descriptors are open, and however few more there may be.
#[test]
fn sockets_arrive_where_no_further_descriptor_can_be_had() {
    let mut moves = Moves::default();
    moves.arrange([4, 3, 40].into_iter());
    assert!(moves.list().contains(&Move { from: 3, to: 6 }), "the hardest case takes one number more");
    let null = File::open("/dev/null").unwrap();
    let status = in_a_child(|| {
        let limit = setrlimit(Resource::RLIMIT_NOFILE, 64, 64);
        // Until there is no more room, the places and the spare number included.
        while unistd::dup(&null).map(std::mem::forget).is_ok() {}
        let placed = hand_over(null.as_raw_fd(), &moves);
        let open = |fd| fcntl(borrow(fd), FcntlArg::F_GETFD) == Ok(0);
        if limit.is_ok() && placed.is_ok() && (3..6).all(open) && !open(6) { 0 } else { 1 }
    });
    assert_eq!(status, ExitStatus::Code(0));
}

#[test]
fn a_worker_gets_the_limit_that_the_supervisor_was_started_with() {
    let limit = |words: &str| seen(words, &[], &[])["limit"].clone();
    let before = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let files = FileLimit::raise();
    assert_eq!(files.soft(), before.0);
    assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap(), (before.1, before.1));
    // Raised by then, so that it is told from what is left alone.
    let mut spawner = Spawner::new(FileLimit::of(64, before.1), None, memory()).unwrap();
    let child = start(&mut spawner, &shell("[ $(ulimit -n) = 64 ]"));
    assert_eq!(wait(child.pid), ExitStatus::Code(0));
    assert_eq!(limit("echo limit=$(ulimit -n)"), before.1.to_string());
}

#[test]
fn a_kernel_without_close_range_is_no_obstacle() {
    let status = in_a_child(|| {
        let open = |fd: RawFd| fcntl(borrow(fd), FcntlArg::F_GETFD).is_ok();
        let _ = place(libc::STDIN_FILENO, 5);
        let _ = place(libc::STDIN_FILENO, 900);
        close_by_hand(6, c_int::MAX);
        if open(5) && !open(900) { 0 } else { 1 }
    });
    assert_eq!(status, ExitStatus::Code(0));
}

#[test]
fn what_the_starter_left_behind_is_undone() {
    let status = in_a_child(|| {
        // SAFETY: no handler.
        unsafe { handle(Number::SIGCHLD, SigHandler::SigIgn) }.unwrap();
        SigSet::all().thread_set_mask().unwrap();
        let timers = [libc::ITIMER_REAL, libc::ITIMER_VIRTUAL, libc::ITIMER_PROF];
        let soon = libc::timeval { tv_sec: 1_000, tv_usec: 0 };
        let running = libc::itimerval { it_interval: soon, it_value: soon };
        for timer in timers {
            // SAFETY: reads one structure and writes none.
            unsafe { libc::setitimer(timer, &raw const running, ptr::null_mut()) };
        }
        let hangup = reset_signals_at_start(Waiting::LetIn);
        let stopped = timers.into_iter().all(|timer| {
            let mut left = running;
            // SAFETY: writes one structure.
            unsafe { libc::getitimer(timer, &raw mut left) };
            left.it_value.tv_sec == 0 && left.it_value.tv_usec == 0
        });
        // SAFETY: no handler.
        let limit = unsafe { handle(Number::SIGXFSZ, SigHandler::SigDfl) };
        // SAFETY: no handler.
        let before = unsafe { handle(Number::SIGCHLD, SigHandler::SigDfl) };
        // SAFETY: no handler.
        let pipe = unsafe { handle(Number::SIGPIPE, SigHandler::SigDfl) };
        let right = hangup == Hangup::Obeyed
            && matches!(before, Ok(SigHandler::SigDfl))
            && [pipe, limit].iter().all(|before| matches!(before, Ok(SigHandler::SigIgn)))
            && stopped
            && SigSet::thread_get_mask().is_ok_and(|mask| mask.iter().next().is_none());
        if right { 0 } else { 1 }
    });
    assert_eq!(status, ExitStatus::Code(0));
}

#[test]
fn a_hangup_that_was_ignored_stays_so() {
    let status = in_a_child(|| {
        // SAFETY: no handler.
        unsafe { handle(Number::SIGHUP, SigHandler::SigIgn) }.unwrap();
        let hangup = reset_signals_at_start(Waiting::LetIn);
        // SAFETY: no handler.
        let after = unsafe { handle(Number::SIGHUP, SigHandler::SigDfl) };
        let right = hangup == Hangup::Ignored && matches!(after, Ok(SigHandler::SigIgn));
        if right { 0 } else { 1 }
    });
    assert_eq!(status, ExitStatus::Code(0));
}

#[test]
fn missing_standard_descriptors_become_dev_null() {
    let status = in_a_child(|| {
        for fd in [0, 2] {
            // SAFETY: the child's own copies.
            unsafe { libc::close(fd) };
        }
        let before = nix::sys::stat::fstat(borrow(1)).map(|stat| stat.st_ino);
        let opened = open_standard_fds();
        let null = nix::sys::stat::stat("/dev/null").map(|stat| stat.st_rdev);
        let right = opened.is_ok()
            && [0, 2].iter().all(|fd| nix::sys::stat::fstat(borrow(*fd)).map(|stat| stat.st_rdev) == null)
            && [0, 2].iter().all(|fd| fcntl(borrow(*fd), FcntlArg::F_GETFD) == Ok(0))
            && nix::sys::stat::fstat(borrow(1)).map(|stat| stat.st_ino) == before;
        if right { 0 } else { 1 }
    });
    assert_eq!(status, ExitStatus::Code(0));
}

#[test]
fn neither_good_nor_bad_starts_leave_anything_open() {
    let scratch = Scratch::new();
    let path = scratch.file("bad", "#!/nowhere/interpreter\n", 0o755);
    let bad = program(path.to_str().unwrap(), &[]);
    let good = shell("exit");
    let mut spawner = spawner();
    let open = || fs::read_dir("/proc/self/fd").unwrap().count();
    let before = open();
    for program in [&bad, &good] {
        for _ in 0..100 {
            let child = start(&mut spawner, program);
            wait(child.pid);
            spawner.outcome(child.ticket);
        }
    }
    // Tests that run at the same time open a few files of their own.
    assert!(open() < before + 50);
    assert!(spawner.verdicts.is_idle());
}

/// Runs something that allocates nothing in a process of its own.
fn in_a_child(body: impl FnOnce() -> c_int) -> ExitStatus {
    // SAFETY: `body` makes system calls only, and the child ends without unwinding.
    match unsafe { unistd::fork() }.unwrap() {
        ForkResult::Child => {
            let code = body();
            // SAFETY: ends this process only.
            unsafe { libc::_exit(code) }
        }
        ForkResult::Parent { child } => wait(known(child)),
    }
}

fn link(path: &str) -> String {
    fs::read_link(format!("/proc/{path}")).unwrap().display().to_string()
}

/// A process's descriptors but for standard output and error; none before it is the program.
fn fds_of(pid: Pid) -> BTreeMap<usize, String> {
    if fs::read_to_string(format!("/proc/{pid}/comm")).unwrap() != "sleep\n" {
        return BTreeMap::new();
    }
    let fds = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let fds = fds.map(|fd| fd.unwrap().file_name().to_str().unwrap().parse().unwrap());
    let fds = fds.filter(|fd: &usize| *fd != 1 && *fd != 2);
    let links = fds.map(|fd| (fd, fs::read_link(format!("/proc/{pid}/fd/{fd}"))));
    // One that is closed in between is none.
    links.filter_map(|(fd, link)| Some((fd, link.ok()?.display().to_string()))).collect()
}
