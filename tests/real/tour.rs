//! The README's tour, command by command, against what it prints.
//!
//! Every command runs as it is printed, in one shell. What it says must be what the README shows, but for
//! what no two runs have in common: pids, times, the slots that answer or fail first, the number of answers
//! counted. What would be somebody else's is a private one: the port, the control socket, the folder, and
//! the programs, which are those under test.
//!
//! A reader is slower than a test. So the test waits where a reader would have taken a breath.

use crate::{
    harness::{CLIENT, Folder, SUPERVISOR, children, eventually, is_alive, raw, rust_worker},
    readme::blocks,
    tools::{have, skip},
};
use nix::sys::signal::{Signal, kill, killpg};
use std::{
    env, fs,
    io::Write as _,
    os::unix::fs::symlink,
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    thread,
};

/// A command of a console block, and what it prints.
#[derive(Debug)]
struct Step {
    command: &'static str,
    shown: Vec<&'static str>,
}

/// The steps of a section's console blocks.
fn steps(heading: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for line in blocks(heading, "console").into_iter().flat_map(str::lines) {
        match line.strip_prefix("$ ") {
            Some(command) => steps.push(Step { command, shown: Vec::new() }),
            None => steps.last_mut().expect("a command before its output").shown.push(line),
        }
    }
    assert!(!steps.is_empty(), "README.md shows no command in `{heading}`");
    steps
}

/// A shell in a folder that looks like the project's, as far as the README's commands are concerned.
struct Session {
    shell: Child,
    folder: Folder,
    private: [Private; 3],
    /// How much of the output has been read, in bytes.
    read: usize,
    commands: u32,
}

/// What the README says, and what it is for this session.
struct Private {
    printed: &'static str,
    meant: String,
}

impl Session {
    fn new() -> Self {
        let folder = Folder::new();
        let release = folder.join("target/release");
        fs::create_dir_all(release.join("examples")).expect("a folder can be made");
        symlink(rust_worker(), release.join("examples/http")).expect("a link can be made");
        let socket = folder.join("ctl").display().to_string();
        for program in [SUPERVISOR, CLIENT] {
            let name = Path::new(program).file_name().expect("a name").display();
            let text = format!("#!/bin/sh\nexec {program} -d {socket} \"$@\"\n");
            folder.script(&format!("target/release/{name}"), &text);
        }
        // What is under test has been built. And curl shows no meter beside an answer on a terminal.
        folder.script("cargo", "#!/bin/sh\n[ \"$*\" = \"build --release --bins --examples\" ]\n");
        fs::write(folder.join(".curlrc"), "no-progress-meter\n").expect("a file can be written");

        let output = fs::File::create(folder.join("output")).expect("a file can be made");
        let home = folder.join("");
        let path = env::var("PATH").unwrap_or_default();
        let shell = Command::new("bash")
            .args(["--norc", "--noprofile"])
            .current_dir(&home)
            .env("PATH", format!("{}:{path}", home.display()))
            .env("CURL_HOME", &home)
            .stdin(Stdio::piped())
            .stdout(output.try_clone().expect("a file can be shared"))
            .stderr(output)
            .spawn()
            .expect("there is a bash");
        let private = [
            Private { printed: "/tmp/einhorn.sock", meant: socket },
            Private { printed: "/tmp/tour", meant: folder.join("tour").display().to_string() },
            Private { printed: "127.0.0.1:8080", meant: private_address() },
        ];
        Self { shell, folder, private, read: 0, commands: 0 }
    }

    /// Runs a command of the README and returns the lines that it says, in the README's words.
    #[track_caller]
    fn run(&mut self, command: &str) -> Vec<String> {
        let meant =
            self.private.iter().fold(command.to_owned(), |text, it| text.replace(it.printed, &it.meant));
        self.commands += 1;
        let end = format!("--- the end of command {} ---\n", self.commands);
        // A command must not read the commands that follow it.
        let lines = format!("{{ {meant}\n}} </dev/null\nprintf '%s\\n' '{}'\n", end.trim_end());
        let stdin = self.shell.stdin.as_mut().expect("it is piped");
        stdin.write_all(lines.as_bytes()).expect("the shell reads");
        let output = self.folder.join("output");
        let said = eventually(&format!("`{command}` ends"), || {
            let said = fs::read_to_string(&output).ok()?.split_off(self.read);
            said.split_once(&end).map(|(said, _)| said.to_owned())
        });
        self.read += said.len() + end.len();
        let said = self.private.iter().fold(said, |text, it| text.replace(&it.meant, it.printed));
        said.lines().map(str::to_owned).collect()
    }

    /// Waits until a command of the test's own succeeds.
    #[track_caller]
    fn until(&mut self, condition: &str) {
        let ask = format!("if {condition}; then echo yes; fi 2>/dev/null");
        eventually(condition, || (self.run(&ask) == ["yes"]).then_some(()));
    }

    /// The process of the load, which is the second job.
    #[track_caller]
    fn load(&mut self) -> u32 {
        let said = self.run("jobs -p %2");
        said.first().and_then(|pid| pid.parse().ok()).expect("a second job")
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if thread::panicking() {
            for name in ["output", "tour/log"] {
                println!("{name}:\n{}", fs::read_to_string(self.folder.join(name)).unwrap_or_default());
            }
        }
        // Stopped first, so that nobody starts or replaces anybody meanwhile.
        let _ = kill(raw(self.shell.id()), Signal::SIGSTOP);
        for job in children(self.shell.id()) {
            let _ = kill(raw(job), Signal::SIGSTOP);
            for process in children(job) {
                let _ = killpg(raw(process), Signal::SIGKILL);
                let _ = kill(raw(process), Signal::SIGKILL);
            }
            let _ = kill(raw(job), Signal::SIGKILL);
        }
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

/// Where nobody else listens: an address of the loopback network that no other run of the tests has, and a
/// port that no other session has.
fn private_address() -> String {
    static NEXT: AtomicU16 = AtomicU16::new(8080);
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    format!("127.{}.{middle}.{low}:{}", 64 | (high & 63), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A line without what no two runs have in common, and with single spaces, since pids differ in width.
fn shared(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().filter(|word| !is_time_stamp(word)).collect();
    let numbers = words.iter().take_while(|word| is_number(word)).count();
    // Of `status`, a row begins with a slot and a pid; of `uniq -c`, with how many there were.
    let column = match (numbers, words.len()) {
        (2, 2) => Some(0),
        (2.., _) => Some(1),
        _ => None,
    };
    let kept = words.iter().enumerate().map(|(at, word)| {
        let (text, end) = word.split_at(word.trim_end_matches([',', ':', ';']).len());
        let before = at.checked_sub(1).and_then(|at| words.get(at)).copied().unwrap_or_default();
        let after = words.get(at + 1).copied().unwrap_or_default().trim_end_matches([',', ';']);
        let is_time = is_number(text) && is_unit(after) || is_number(before) && is_unit(text);
        let is_named = is_number(text) && matches!(before, "pid" | "worker" | "slot");
        if is_time || is_named || column == Some(at) {
            return format!("*{end}");
        }
        match text.split_once(['[', '=']) {
            Some((name @ ("einhyrningsins" | "EINHORN_MASTER_PID"), _)) => format!("{name}*{end}"),
            _ => (*word).to_owned(),
        }
    });
    kept.collect::<Vec<_>>().join(" ")
}

fn is_number(word: &str) -> bool {
    word.parse::<f64>().is_ok()
}

fn is_unit(word: &str) -> bool {
    matches!(word, "ms" | "s" | "min")
}

/// Such as 2026-11-25T14:25:38Z.
fn is_time_stamp(word: &str) -> bool {
    word.len() == 20 && word.ends_with('Z') && word.get(10..11) == Some("T")
}

/// Compares what a command has said with what the README shows.
#[track_caller]
fn compare(step: &Step, said: &[String]) {
    let expected: Vec<String> = step.shown.iter().map(|line| shared(line)).collect();
    let found: Vec<String> = said.iter().map(|line| shared(line)).collect();
    assert_eq!(found, expected, "`{}` says\n{}", step.command, said.join("\n"));
}

#[test]
fn the_tour_is_as_printed() {
    if !have("curl", &["--version"]) || !have("bash", &["--version"]) {
        return skip("the README's tour needs bash and curl");
    }
    let mut session = Session::new();
    for step in steps("Five minutes") {
        let kills = step.command.starts_with("kill -KILL");
        if kills {
            // What a worker is answering is lost with it. That is no part of the tour, so the load rests.
            let load = session.load();
            session.run("kill -STOP %2");
            eventually("no request is under way", || {
                children(load).iter().all(|it| !is_alive(*it)).then_some(())
            });
        }
        if step.command.starts_with("kill %2") {
            session.until("grep -q 'version 2' /tmp/tour/answers");
        }
        let said = session.run(step.command);
        compare(&step, &said);
        if step.command.starts_with("einhyrningsins ") {
            session.until("einhyrningsinsctl status | grep -q ', 3/3 workers healthy'");
        }
        if step.command.starts_with("while ") {
            session.until("grep -q 'version 1' /tmp/tour/answers");
        }
        if kills {
            session.until("einhyrningsinsctl status | grep -q '^0 .* healthy .* killed by SIGKILL'");
            session.run("kill -CONT %2");
        }
    }
    assert_eq!(session.run("wait %1; echo $?"), ["0"], "the supervisor's exit status");
}

#[test]
fn what_a_worker_is_given_is_as_printed() {
    if !have("bash", &["--version"]) {
        return skip("the README's commands need bash");
    }
    let mut session = Session::new();
    session.run("PATH=\"$PWD/target/release:$PATH\"");
    let step = steps("Your own program").into_iter().next().expect("a command");
    let mut said = session.run(&format!("{} &", step.command));
    eventually("the worker says what it is given", || {
        said.extend(session.run(":"));
        (said.len() >= step.shown.len()).then_some(())
    });
    compare(&step, &said);
}

#[test]
fn only_what_no_two_runs_share_is_left_out() {
    for (one, other) in [
        ("worker 2 pid 25914 version 1", "worker 0 pid 7 version 1"),
        ("generation 2 serves, after 14 ms", "generation 2 serves, after 1.2 s"),
        ("0     25912  1  healthy  1.0 s  0", "0  7  1  healthy  999 ms  0"),
        ("    137 1", "      1 1"),
        ("einhyrningsins[25911] [WARN] so", "einhyrningsins[7] 2026-11-25T14:25:38Z [WARN] so"),
    ] {
        assert_eq!(shared(one), shared(other));
    }
    for (one, other) in [
        ("generation 2: 3/3 healthy, 0 retired", "going back to generation 2: 3/3 healthy, 0 retired"),
        ("generation 2: 3/3 healthy, 0 retired", "generation 2: 3/3 healthy, 1 retired"),
        ("generation 2 serves with 3 healthy workers", "generation 2 serves with 2 healthy workers"),
        ("worker 2 pid 25914 version 1", "worker 2 pid 25914 version 2"),
        ("0     25912  1  healthy  1.0 s  0", "0     25912  1  healthy  1.0 s  1"),
        ("    137 1", "    137 2"),
    ] {
        assert_ne!(shared(one), shared(other));
    }
}
