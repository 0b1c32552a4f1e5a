use super::{super::scratch::Scratch, *};
use std::{fs, sync::mpsc};

/// Takes what it is told to take.
struct Pad {
    lines: mpsc::Sender<String>,
    verdicts: Vec<Result<(), Lost>>,
}

impl Sink for Pad {
    fn put(&mut self, line: &[u8]) -> Result<(), Lost> {
        self.verdicts.pop().unwrap_or(Ok(()))?;
        self.lines.send(String::from_utf8_lossy(line).into_owned()).unwrap();
        Ok(())
    }
}

fn pad(verdicts: &[Result<(), Lost>]) -> (Lines<Pad>, mpsc::Receiver<String>) {
    let (sender, receiver) = mpsc::channel();
    (Lines::new(Pad { lines: sender, verdicts: verdicts.iter().rev().copied().collect() }), receiver)
}

fn say<S: Sink>(lines: &mut Lines<S>, words: &str) {
    lines.write_all(words.as_bytes()).unwrap();
    lines.flush().unwrap();
}

fn prefixed(words: &str) -> String {
    format!("einhyrningsins[{}] {words}\n", process::id())
}

fn record(both: &dyn Log, level: Level, words: &str) {
    both.log(&Record::builder().level(level).args(format_args!("{words}")).build());
}

#[test]
fn a_line_has_the_program_the_time_the_level_and_the_words() {
    log::set_max_level(LevelFilter::Info);
    let (lines, said) = pad(&[]);
    let both = Both { lines: logger(lines), syslog: None };
    record(&both, Level::Warn, "worker 3 is gone\nforged [ERROR] line\x1b[2J\u{9b}m\u{202e}");
    record(&both, Level::Debug, "nobody wants to know");
    drop(both);
    let said: Vec<_> = said.iter().collect();
    assert_eq!(said.len(), 1, "{said:?}");
    let (front, rest) = said[0].split_at(prefixed("").len() - 1);
    assert_eq!(front, prefixed("").trim_end_matches('\n'));
    let (time, words) = rest.split_once(' ').unwrap();
    let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(shape, "0000-00-00T00:00:00Z");
    assert_eq!(words, "[WARN] worker 3 is gone\\nforged [ERROR] line\\u{1b}[2J\\u{9b}m\\u{202e}\n");
}

#[test]
fn lost_lines_are_counted_and_told_before_the_next_one() {
    let lost = Err(Lost::Whole);
    let (mut lines, said) = pad(&[Ok(()), lost, lost, lost, Ok(())]);
    // The second is lost, then twice the word about it and so a line each.
    for words in ["one", "two", "three", "four", "five"] {
        say(&mut lines, words);
    }
    drop(lines);
    let said: Vec<_> = said.iter().collect();
    assert_eq!(
        said,
        [prefixed("one"), prefixed("[WARN] 3 lines of this log were lost here"), prefixed("five")]
    );
}

#[test]
fn after_a_torn_line_the_next_one_begins_anew() {
    let (mut lines, said) = pad(&[Err(Lost::Torn)]);
    say(&mut lines, "torn");
    say(&mut lines, "whole");
    drop(lines);
    let first = format!("\n{}", prefixed("[WARN] 1 line of this log was lost here"));
    assert_eq!(said.iter().collect::<Vec<_>>(), [first, prefixed("whole")]);
}

#[test]
fn endless_words_are_cut() {
    let (mut lines, said) = pad(&[]);
    say(&mut lines, &"x".repeat(10 * LONGEST_LINE));
    assert_eq!(said.recv().unwrap().len(), LONGEST_LINE);
}

#[test]
fn syslog_gets_warnings_and_worse() {
    log::set_max_level(LevelFilter::Info);
    let scratch = Scratch::new();
    let daemon = UnixDatagram::bind(scratch.join("log")).unwrap();
    daemon.set_nonblocking(true).unwrap();
    let (lines, _said) = pad(&[]);
    let syslog = Some(Mutex::new(Syslog::new(scratch.join("log"))));
    let both = Both { lines: logger(lines), syslog };
    record(&both, Level::Info, "fine");
    record(&both, Level::Warn, "not\nfine");
    record(&both, Level::Error, "bad");
    let front = format!("einhyrningsins[{}]: ", process::id());
    // Facility 3, severities 4 and 3, RFC 3164 section 4.1.1.
    for (priority, words) in [("<28>", r"not\nfine"), ("<27>", "bad")] {
        let line = receive(&daemon).unwrap();
        assert!(line.starts_with(priority) && line.ends_with(&format!("{front}{words}")), "{line}");
    }
    assert_eq!(receive(&daemon), None);
}

#[test]
fn syslog_may_be_absent_full_or_started_again() {
    let scratch = Scratch::new();
    let path = scratch.join("log");
    let mut syslog = Syslog::new(path.clone());
    let mut say = |words: &str| {
        syslog.log(&Record::builder().level(Level::Warn).args(format_args!("{words}")).build());
    };
    say("nobody is there");
    let first = UnixDatagram::bind(&path).unwrap();
    say("somebody is");
    assert!(receive(&first).unwrap().ends_with(" 1 line of this log was lost here"));
    assert!(receive(&first).unwrap().ends_with(" somebody is"));
    for number in 0..2_000 {
        say(&format!("nobody reads {number}"));
    }
    fs::remove_file(&path).unwrap();
    // Not only dropped: children that other tests have just forked may keep it for a moment.
    first.shutdown(std::net::Shutdown::Both).unwrap();
    drop(first);
    let second = UnixDatagram::bind(&path).unwrap();
    say("somebody else is");
    assert!(receive(&second).unwrap().ends_with(" lost here"));
    assert!(receive(&second).unwrap().ends_with(" somebody else is"));
}

fn receive(daemon: &UnixDatagram) -> Option<String> {
    daemon.set_nonblocking(true).unwrap();
    let mut line = [0; 2 * LONGEST_LINE];
    daemon.recv(&mut line).ok().map(|length| String::from_utf8_lossy(&line[..length]).into_owned())
}
