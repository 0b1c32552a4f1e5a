//! The live view on a terminal of its own.

use crate::{
    harness::{CLIENT, Supervisor, eventually, raw},
    tools::{BROKEN, err, recorded, recorders, releases, skip, sleepers, within},
};
use nix::{
    pty::{OpenptyResult, openpty},
    sys::{
        signal::{Signal, kill},
        termios::{LocalFlags, tcgetattr},
    },
};
use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::{net::UnixListener, process::ExitStatusExt as _},
    },
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread,
};
use vt100::Parser;

/// A terminal with a program on it.
struct Terminal {
    child: Child,
    keyboard: fs::File,
    /// The end that the program has, held open so that it can be looked at afterwards.
    theirs: OwnedFd,
    parser: Arc<Mutex<Parser>>,
    /// All that was written.
    written: Arc<Mutex<Vec<u8>>>,
    exited: Option<ExitStatus>,
}

impl Terminal {
    /// One of 80 columns and 24 lines on which `top` is shown; `None` if that cannot be done here.
    fn top(supervisor: &Supervisor) -> Option<Self> {
        Self::with(&["-d", &supervisor.socket().display().to_string(), "top"], &[])
    }

    fn with(args: &[&str], variables: &[(&str, &str)]) -> Option<Self> {
        let args: Vec<&str> = [CLIENT].iter().chain(args).copied().collect();
        Self::run(&args, variables)
    }

    fn run(command: &[&str], variables: &[(&str, &str)]) -> Option<Self> {
        let OpenptyResult { master, slave } = openpty(None, None).ok()?;
        let theirs = || Stdio::from(slave.try_clone().expect("a descriptor"));
        let parser = Arc::new(Mutex::new(Parser::new(24, 80, 0)));
        let terminal = |child| Self {
            child,
            keyboard: master.try_clone().expect("a descriptor").into(),
            theirs: slave.try_clone().expect("a descriptor"),
            parser: Arc::clone(&parser),
            written: Arc::default(),
            exited: None,
        };
        // Without a terminal that is its own it would hear neither of its size nor of its end.
        let child = Command::new("setsid")
            .args(["--ctty", "--"])
            .args(["/bin/sh", "-c", "stty rows 24 cols 80 && exec \"$@\"", "sh"])
            .args(command)
            .env("TERM", "xterm-256color")
            .env("LC_ALL", "C.UTF-8")
            .env_remove("NO_COLOR")
            .envs(variables.iter().copied())
            .stdin(theirs())
            .stdout(theirs())
            .stderr(theirs())
            .spawn()
            .ok()?;
        let me = terminal(child);
        let (parser, written) = (Arc::clone(&me.parser), Arc::clone(&me.written));
        let mut screen = fs::File::from(master);
        thread::spawn(move || {
            let mut bytes = [0; 4_096];
            while let Ok(length @ 1..) = screen.read(&mut bytes) {
                parser.lock().expect("whole").process(&bytes[..length]);
                written.lock().expect("whole").extend(&bytes[..length]);
            }
        });
        Some(me)
    }

    fn screen(&self) -> String {
        self.parser.lock().expect("whole").screen().contents()
    }

    #[track_caller]
    fn expect(&self, text: &str) {
        let last = std::cell::RefCell::new(String::new());
        let seen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            eventually(text, || {
                *last.borrow_mut() = self.screen();
                last.borrow().contains(text).then_some(())
            });
        }));
        assert!(seen.is_ok(), "{text:?} is not on the screen:\n{}", last.borrow());
    }

    fn type_in(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).expect("there is a terminal");
    }

    /// Makes it another size, of which the program hears.
    fn resize(&self, columns: u16, rows: u16) {
        self.parser.lock().expect("whole").screen_mut().set_size(rows, columns);
        let (rows, columns) = (rows.to_string(), columns.to_string());
        let theirs = self.theirs.try_clone().expect("a descriptor");
        let status = Command::new("stty").args(["rows", &rows, "cols", &columns]).stdin(theirs).status();
        assert!(status.expect("stty can be run").success());
    }

    fn signal(&self, signal: Signal) {
        kill(raw(self.child.id()), signal).expect("it is there");
    }

    #[track_caller]
    fn await_exit(&mut self) -> ExitStatus {
        let status = eventually("it ends", || self.child.try_wait().expect("it can be waited for"));
        self.exited = Some(status);
        status
    }

    /// Whether keys have their usual meaning.
    fn is_cooked(&self) -> bool {
        let modes = tcgetattr(self.theirs.as_fd()).expect("a terminal").local_flags;
        modes.contains(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG)
    }

    /// Waits until the terminal is as it was.
    #[track_caller]
    fn expect_restored(&self) {
        let is_restored = || {
            let parser = self.parser.lock().expect("whole");
            let screen = parser.screen();
            !screen.alternate_screen()
                && !screen.hide_cursor()
                && !screen.bracketed_paste()
                && self.is_cooked()
        };
        eventually("the terminal is as it was", || is_restored().then_some(()));
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if self.exited.is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

#[test]
fn top_shows_the_service_takes_orders_and_leaves_the_terminal_as_it_was() {
    let (mut supervisor, pids, notes) = recorders(2, &[], &["USR2", "TERM"]);
    let Some(mut top) = Terminal::top(&supervisor) else { return skip("there is no pty") };
    top.expect("2/2 healthy");
    top.expect(&format!("{:>7}    1 ", pids[0]));
    assert!(!top.is_cooked());
    top.type_in("+");
    top.expect("inc: number of workers: 2 → 3");
    top.expect("3/3 healthy");
    // A question that is not answered by yes is a no.
    top.type_in("u");
    top.expect("upgrade: replace 3 workers? (y: yes");
    top.type_in("n");
    top.type_in("shup\r");
    top.expect("HUP to the chosen worker");
    top.type_in("w");
    top.expect(&format!("send HUP to pid {} of slot 0? (y: yes", pids[0]));
    top.type_in("n");
    top.type_in("jshup\rw");
    top.expect(&format!("send HUP to pid {} of slot 1? (y: yes", pids[1]));
    top.type_in("y");
    top.expect("signal: sent HUP to 1 worker");
    supervisor.eventually("one has got it", |_| (recorded(&notes, pids[1])? == ["HUP"]).then_some(()));
    assert_eq!(recorded(&notes, pids[0]).expect("it records"), [""; 0]);
    top.type_in("uy");
    top.expect("upgrade: generation 2 serves with 3 healthy workers");
    top.expect("generation 2");
    top.type_in("ay");
    top.expect("REFUSED: abort: ");
    top.type_in("-");
    top.expect("dec: number of workers: 3 → 2");
    top.type_in("q");
    assert_eq!(top.await_exit().code(), Some(0));
    top.expect_restored();
    assert_eq!(top.screen().trim(), "");
    supervisor.await_healthy(2);
}

#[test]
fn top_follows_the_size_of_its_terminal() {
    let (supervisor, _) = sleepers(2, &[]);
    let Some(mut top) = Terminal::top(&supervisor) else { return skip("there is no pty") };
    top.expect("RESTARTS");
    top.resize(30, 5);
    top.expect("needs 40x8, is 30x5");
    top.resize(40, 8);
    top.expect("u a s");
    assert!(!top.screen().contains("needs"), "{}", top.screen());
    top.resize(132, 43);
    top.expect("asking first: u upgrade  a abort  s signal");
    top.type_in("?");
    top.expect("KEYS (");
    // Byte by byte, as over a slow line, an arrow is no Esc; Esc leads back, and then out.
    for byte in ["\x1b", "[", "B"] {
        top.type_in(byte);
        thread::sleep(std::time::Duration::from_millis(30));
    }
    top.type_in("\x1b");
    top.expect("2/2 healthy");
    top.type_in("\x1b");
    assert_eq!(top.await_exit().code(), Some(0));
    top.expect_restored();
}

#[test]
fn top_stays_while_the_supervisor_is_stopped_or_gone_and_finds_the_next() {
    let (mut supervisor, _) = sleepers(1, &[]);
    let Some(mut top) = Terminal::top(&supervisor) else { return skip("there is no pty") };
    top.expect("1/1 healthy");
    supervisor.signal(Signal::SIGSTOP);
    top.expect("NO ANSWER for ");
    top.expect(&format!("pid {}: it is stopped", supervisor.pid()));
    top.type_in("?");
    top.expect("KEYS (");
    top.type_in("x");
    supervisor.signal(Signal::SIGCONT);
    eventually("it answers again", || (!top.screen().contains("NO ANSWER")).then_some(()));
    let before = supervisor.pid();
    supervisor.kill();
    top.expect("NO ANSWER for ");
    assert!(top.screen().contains("1/1 healthy"), "the last that was seen stays: {}", top.screen());
    supervisor.start_again();
    top.expect(&format!("another supervisor answers: pid {}, in place of pid {before}", supervisor.pid()));
    top.expect("1/1 healthy");
    top.type_in("\x03");
    assert_eq!(top.await_exit().code(), Some(0));
}

#[test]
fn a_signal_ends_top_as_it_ends_others_but_for_the_terminal() {
    let (supervisor, _) = sleepers(1, &[]);
    for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT] {
        let Some(mut top) = Terminal::top(&supervisor) else { return skip("there is no pty") };
        top.expect("1/1 healthy");
        top.signal(signal);
        assert_eq!(top.await_exit().signal(), Some(signal as i32));
        top.expect_restored();
    }
    let mut top = Terminal::top(&supervisor).expect("as before");
    top.expect("1/1 healthy");
    top.signal(Signal::SIGINT);
    assert_eq!(top.await_exit().code(), Some(130));
    top.expect_restored();
}

#[test]
fn top_can_be_suspended_and_continued() {
    let (supervisor, _) = sleepers(1, &[]);
    let script = "set -m; \"$@\"; echo; echo suspended; read -r line; fg >/dev/null; echo; echo ended $?";
    let path = supervisor.socket().display().to_string();
    let command = ["/bin/sh", "-c", script, "sh", CLIENT, "-d", &path, "top"];
    let Some(mut shell) = Terminal::run(&command, &[]) else { return skip("there is no pty") };
    shell.expect("1/1 healthy");
    shell.type_in("\x1a");
    shell.expect("suspended");
    shell.expect_restored();
    shell.type_in("go\r");
    shell.expect("1/1 healthy");
    assert!(!shell.is_cooked());
    shell.type_in("q");
    shell.expect("ended 0");
    shell.expect_restored();
    // Whoever has no shell is not stopped: nobody would continue it.
    let mut top = Terminal::top(&supervisor).expect("as before");
    top.expect("1/1 healthy");
    top.type_in("\x1a");
    top.expect("there is no shell that could continue it");
    top.signal(Signal::SIGSTOP);
    top.signal(Signal::SIGCONT);
    top.type_in("q");
    assert_eq!(top.await_exit().code(), Some(0));
}

#[test]
fn what_is_no_terminal_is_wrong_usage_and_a_wrong_path_is_told_at_once() {
    let (supervisor, _) = sleepers(1, &[]);
    let output = supervisor.ctl(&["top"]);
    assert_eq!(output.status.code(), Some(2));
    let said =
        "einhyrningsinsctl: top needs a terminal: standard output is none; `status` shows the same once\n";
    assert_eq!(err(&output), said);
    let path = supervisor.socket().display().to_string();
    for (term, why) in [("dumb", "one that TERM calls dumb"), ("", "the variable TERM does not say")] {
        let Some(mut top) = Terminal::with(&["-d", &path, "top"], &[("TERM", term)]) else {
            return skip("there is no pty");
        };
        assert_eq!(top.await_exit().code(), Some(2));
        top.expect(&format!("top needs a terminal: {why}"));
    }
    let mut top = Terminal::with(&["-d", &format!("{path}.not"), "top"], &[]).expect("as before");
    assert_eq!(top.await_exit().code(), Some(3));
    top.expect("is one running, and with this");
    assert!(top.is_cooked());
}

/// Whether any of what was written chooses a colour.
fn has_colour(written: &[u8]) -> bool {
    let text = String::from_utf8_lossy(written).into_owned();
    let chooses = |order: &str| {
        let (numbers, _) = order.split_once('m').unwrap_or_default();
        numbers.split(';').any(|number| matches!(number.parse(), Ok(30..=38 | 40..=48 | 90..=107)))
    };
    text.split("\x1b[").skip(1).any(chooses)
}

#[test]
fn colours_are_only_where_they_are_wanted() {
    let (supervisor, release, _) = releases(2, &["-r", "6"]);
    let path = supervisor.socket().display().to_string();
    release.switch(&within(&supervisor, "broken"));
    for (variables, wanted) in [
        (&[][..], true),
        (&[("NO_COLOR", "")], true),
        (&[("NO_COLOR", "1")], false),
        (&[("TERM", "vt100")], false),
    ] {
        let Some(mut top) = Terminal::with(&["-d", &path, "top"], variables) else {
            return skip("there is no pty");
        };
        top.expect("2/2 healthy");
        top.type_in("q");
        assert_eq!(top.await_exit().code(), Some(0));
        top.expect_restored();
        assert_eq!(has_colour(&top.written.lock().expect("whole")), wanted, "{variables:?}");
        let mut upgrade = Terminal::with(&["-d", &path, "upgrade"], variables).expect("as before");
        upgrade.expect("einhyrningsinsctl: ");
        assert_eq!(upgrade.await_exit().code(), Some(1));
        let written = upgrade.written.lock().expect("whole").clone();
        assert_eq!(has_colour(&written), wanted, "{variables:?}");
        let shown = String::from_utf8_lossy(&written).into_owned();
        assert!(shown.contains(" failing: exited with status 7"), "{shown:?}");
    }
    assert!(BROKEN.contains("exit 7"));
}

#[test]
fn a_thousand_workers_are_shown_at_once() {
    let folder = crate::harness::Folder::new();
    let path = folder.join("fake");
    let listener = UnixListener::bind(&path).expect("a socket");
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                let mut answers = stream.try_clone().expect("a descriptor");
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    let answer = if line.contains("\"status\"") {
                        thousand()
                    } else {
                        "{\"message\":\"no\",\"ok\":false}\n".to_owned()
                    };
                    if answers.write_all(answer.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    let Some(mut top) = Terminal::with(&["-d", &path.display().to_string(), "top"], &[]) else {
        return skip("there is no pty");
    };
    top.expect("1000/1000 healthy");
    for _ in 0..200 {
        top.type_in("\x1b[6~\x1b[5~j");
    }
    top.expect("slot 200: healthy");
    top.type_in("\x1b[F");
    top.expect("slot 999: healthy");
    top.type_in("g");
    top.expect("+1000 healthy of generation 1");
    top.type_in("q");
    assert_eq!(top.await_exit().code(), Some(0));
}

/// The answer of a supervisor of a thousand workers.
fn thousand() -> String {
    let worker = |number: u32| {
        format!(
            "{{\"worker\":{number},\"slot\":{number},\"pid\":{},\"generation\":1,\"phase\":\"healthy\",\"stopped\":false,\
             \"age_ms\":5,\"restarts\":0}}",
            std::process::id()
        )
    };
    let slot = |number: u32| {
        format!("{{\"slot\":{number},\"failures\":0,\"restarts\":0,\"gave_up\":false,\"retry_in_ms\":null}}")
    };
    let list = |one: &dyn Fn(u32) -> String| (0..1_000).map(one).collect::<Vec<_>>().join(",");
    format!(
        "{{\"message\":\"\",\"ok\":true,\"status\":{{\"pid\":1,\"name\":null,\"version\":\"1\",\"uptime_ms\":1,\"generation\":1,\
         \"target\":1000,\"healthy\":1000,\"healthy_of_generation\":1000,\"upgrade\":null,\"stopping\":null,\"sockets\":[],\
         \"slots\":[{}],\"workers\":[{}]}}}}\n",
        list(&slot),
        list(&worker)
    )
}
