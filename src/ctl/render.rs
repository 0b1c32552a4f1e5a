//! What is shown of an answer, and where.

use super::{
    bar::Bar, clock::Clock, connection::ReplyLine, failing::Failing, outcome::Outcome, pace::Pace,
    terminal::Ruler,
};
use crate::protocol::{Progress, visible::visible_lines, words::io_error};
use core::{fmt, mem};
use std::{
    io::{self, Write},
    time::Duration,
};

/// How answers are shown.
#[derive(Debug)]
pub enum Style {
    /// The messages, a line each, but of progress no more than a person can read; refusals to standard error.
    Plain,
    /// As plain, but progress is a bar that is drawn over again.
    Terminal(Ruler),
    /// The lines as they came, all to standard output.
    Json,
}

/// Where answers are shown.
pub struct Screen<'a> {
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
    style: Style,
    clock: Clock,
    pace: Pace,
    /// The width of the bar that is on the screen; 0 if none is.
    bar: usize,
    /// The progress that it shows.
    progress: Option<Progress>,
    /// What fails meanwhile.
    failing: Failing,
    /// Whether some of what there was to say could not be written to `out`.
    unwritten: bool,
    /// Whether whoever was to read `out` has left.
    unread: bool,
}

impl<'a> Screen<'a> {
    /// Writes messages to `out` and complaints to `err`.
    #[must_use]
    pub fn new(out: &'a mut dyn Write, err: &'a mut dyn Write, style: Style) -> Self {
        Self {
            out,
            err,
            style,
            clock: Clock::start(),
            pace: Pace::default(),
            bar: 0,
            progress: None,
            failing: Failing::default(),
            unwritten: false,
            unread: false,
        }
    }

    /// Shows one line of an answer.
    pub fn show(&mut self, reply: &ReplyLine) {
        let envelope = &reply.envelope;
        let progress = Progress::from_fields(&envelope.fields).filter(|_| envelope.wait);
        match (&mut self.style, progress) {
            (Style::Json, _) => {
                self.write(|out| out.write_all(&reply.line).and_then(|()| out.write_all(b"\n")));
            }
            (Style::Terminal(_), Some(progress)) => {
                // What failed on the way there says nothing of the way back.
                let way = |progress: &Progress| (progress.generation, progress.stage.is_forward());
                if self.progress.replace(progress).is_some_and(|before| way(&before) != way(&progress)) {
                    self.failing = Failing::default();
                }
                self.draw();
            }
            (Style::Plain, Some(progress)) => {
                let now = self.clock.now();
                if let Some(line) = self.pace.take(&progress, envelope.message.clone(), now) {
                    self.say(&line);
                }
            }
            (Style::Plain | Style::Terminal(_), None) => {
                if !envelope.wait {
                    self.pace.reset();
                }
                if envelope.ok { self.say(&envelope.message) } else { self.complain(&envelope.message) }
            }
        }
    }

    /// How long until something is due that was held back; `None` if nothing was.
    #[must_use]
    pub fn patience(&self) -> Option<Duration> {
        self.pace.patience(self.clock.now())
    }

    /// Whether whoever was to read it has left.
    #[must_use]
    pub fn is_unread(&self) -> bool {
        self.unread
    }

    /// Shows what was held back, if it is due.
    pub fn catch_up(&mut self) {
        if let Some(line) = self.pace.due(self.clock.now()) {
            self.say(&line);
        }
    }

    /// Shows what is no part of an answer, to people.
    pub fn note(&mut self, message: &str) {
        match self.style {
            Style::Json => {}
            Style::Plain | Style::Terminal(_) => self.say(message),
        }
    }

    /// Shows a message. Whoever it is from, it gives no orders to the terminal.
    pub fn say(&mut self, message: &str) {
        self.clear();
        let message = visible_lines(message);
        self.write(|out| writeln!(out, "{message}"));
    }

    /// Shows what went wrong, on standard error.
    pub fn complain(&mut self, message: &dyn fmt::Display) {
        self.clear();
        let message = visible_lines(&message.to_string());
        // There is nowhere left to complain about that to.
        let _ = writeln!(self.err, "einhyrningsinsctl: {message}");
    }

    /// What comes of all, if something may have gone wrong with the output: that was said then, and the command
    /// went on nevertheless.
    pub fn conclude(&mut self, outcome: Outcome) -> Outcome {
        if outcome != Outcome::Done || !self.unwritten {
            return outcome;
        }
        self.complain(&"everything was done, but what there was to say of it could not be written");
        Outcome::Unwritten
    }

    /// Whether there is a bar that has room for what fails.
    #[must_use]
    pub fn has_bar(&self) -> bool {
        self.progress.is_some()
    }

    /// Tells with the bar what fails.
    pub fn tell_failing(&mut self, failing: Failing) {
        if self.failing != failing {
            self.failing = failing;
            self.draw();
        }
    }

    fn draw(&mut self) {
        let (Style::Terminal(ruler), Some(progress)) = (&mut self.style, &self.progress) else { return };
        let columns = ruler.columns();
        let bar = Bar::new(progress, &self.failing, columns);
        let text = if ruler.has_colours() { bar.painted() } else { bar.plain() };
        // Padding, because not every terminal can clear a line and the new bar may be the shorter one; but
        // the terminal may be narrower by now.
        let width = mem::replace(&mut self.bar, bar.width()).min(columns.saturating_sub(1));
        let rest = width.saturating_sub(bar.width());
        self.write(|out| write!(out, "\r{text}{:rest$}", "").and_then(|()| out.flush()));
    }

    fn clear(&mut self) {
        (self.progress, self.failing) = (None, Failing::default());
        let width = mem::take(&mut self.bar);
        if width > 0 {
            self.write(|out| write!(out, "\r{:width$}\r", "").and_then(|()| out.flush()));
        }
    }

    fn write(&mut self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) {
        match write(self.out) {
            // A reader who has left has seen enough.
            // An upgrade is not left unwatched because nobody reads along.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.unread = true,
            Err(error) => {
                if !mem::replace(&mut self.unwritten, true) {
                    let error = io_error(&error);
                    self.complain(&format_args!(
                        "cannot write to standard output: {error}; what was asked for goes on"
                    ));
                }
            }
            Ok(()) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Envelope;

    fn terminal() -> Style {
        Style::Terminal(Ruler::fixed(80))
    }

    fn shown(style: Style, lines: &[&str]) -> (String, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut screen = Screen::new(&mut out, &mut err, style);
        for line in lines {
            let line = line.as_bytes().to_vec();
            screen.show(&ReplyLine { envelope: Envelope::parse(&line).unwrap(), line });
        }
        assert!(!screen.unwritten);
        (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    fn progress(healthy: u32, target: u32, retired: u32) -> String {
        format!(
            "{{\"message\":\"generation 2: {healthy}/{target}\",\"ok\":true,\"wait\":true,\"upgrade\":\
             {{\"generation\":2,\"healthy\":{healthy},\"target\":{target},\"retired\":{retired}}}}}"
        )
    }

    const LAST: &str = "{\"message\":\"done\",\"ok\":true}";

    #[test]
    fn on_a_terminal_progress_is_a_bar_that_leaves_no_trace() {
        let (out, _) = shown(terminal(), &[&progress(5, 10, 10), &progress(6, 8, 9), LAST]);
        assert_eq!(
            out,
            "\r[##########..........] 5/10 healthy, 10 retired\
             \r[###############.....] 6/8 healthy, 9 retired  \
             \r                                             \rdone\n"
        );
    }

    #[test]
    fn what_fails_is_part_of_the_bar_and_goes_with_it() {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut screen = Screen::new(&mut out, &mut err, terminal());
        screen.tell_failing(Failing { slots: 1, last: Some("why".into()) });
        assert!(!screen.has_bar());
        screen.tell_failing(Failing::default());
        let show = |screen: &mut Screen<'_>, line: &str| {
            screen.show(&Envelope::parse(line.as_bytes()).unwrap().into());
        };
        show(&mut screen, &progress(1, 2, 0));
        screen.tell_failing(Failing { slots: 1, last: Some("why".into()) });
        show(&mut screen, LAST);
        show(&mut screen, &progress(1, 2, 0));
        screen.tell_failing(Failing { slots: 1, last: None });
        show(&mut screen, &progress(1, 2, 0).replace("\"healthy\"", "\"stage\":\"back\",\"healthy\""));
        let bar = "[##########..........] 1/2 healthy, 0 retired";
        let back = "[##########..........] going back to generation 2: 1/2 healthy, 0 retired";
        let expected =
            format!("\r{bar}\r{bar}, 1 failing: why\r{:61}\rdone\n\r{bar}\r{bar}, 1 failing\r{back}", "");
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn a_complaint_does_not_run_into_the_bar() {
        let (out, err) =
            shown(terminal(), &[&progress(0, 1, 0), "{\"message\":\"rolled back\",\"ok\":false}"]);
        assert!(out.ends_with(" \r"), "{out:?}");
        assert_eq!(err, "einhyrningsinsctl: rolled back\n");
    }

    #[test]
    fn no_answer_gives_orders_to_a_terminal_but_json_is_as_it_came() {
        let hostile = "{\"message\":\"\\u001b]0;me\\u0007a\u{9b}2J\u{202e}\\nb\",\"ok\":true}";
        for style in [|| Style::Plain, terminal] {
            let (out, _) = shown(style(), &[hostile]);
            assert_eq!(out, "\\u{1b}]0;me\\u{7}a\\u{9b}2J\\u{202e}\nb\n");
            let (_, err) = shown(style(), &[&hostile.replace("true", "false")]);
            assert_eq!(err, "einhyrningsinsctl: \\u{1b}]0;me\\u{7}a\\u{9b}2J\\u{202e}\nb\n");
        }
        assert_eq!(shown(Style::Json, &[hostile]).0, format!("{hostile}\n"));
    }

    #[test]
    fn elsewhere_progress_is_a_line_and_the_last_word_always_another() {
        let lines: Vec<String> = (0..=100).map(|healthy| progress(healthy, 100, 0)).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).chain([LAST]).collect();
        assert_eq!(shown(Style::Plain, &lines).0, "generation 2: 0/100\ndone\n");
        let twice: Vec<&str> = lines.iter().chain(&lines).copied().collect();
        assert_eq!(shown(Style::Plain, &twice).0, "generation 2: 0/100\ndone\n".repeat(2));
    }

    #[test]
    fn a_bar_fits_a_narrow_terminal() {
        let (out, _) = shown(Style::Terminal(Ruler::fixed(40)), &[&progress(5, 10, 10), LAST]);
        assert_eq!(out, format!("\r[######......] 5/10 healthy, 10 retired\r{:39}\rdone\n", ""));
    }

    #[test]
    fn json_is_shown_as_it_came_refusals_too() {
        let refusal = "{ \"ok\":false, \"message\":\"no\" }";
        let (out, err) = shown(Style::Json, &[&progress(1, 2, 0), refusal]);
        assert_eq!((out, err), (format!("{}\n{refusal}\n", progress(1, 2, 0)), String::new()));
    }

    #[test]
    fn output_that_fails_is_told_of_at_once_and_once() {
        let (mut out, mut err) = (Full(io::ErrorKind::StorageFull), Vec::new());
        let mut screen = Screen::new(&mut out, &mut err, terminal());
        for _ in 0..3 {
            screen.progress = Some(
                Progress::from_fields(&Envelope::parse(progress(1, 2, 0).as_bytes()).unwrap().fields)
                    .unwrap(),
            );
            screen.draw();
            screen.say("hello");
        }
        screen.complain(&"oh");
        let said = String::from_utf8(err).unwrap();
        let (first, rest) = said.split_once('\n').unwrap();
        assert!(first.starts_with("einhyrningsinsctl: cannot write to standard output: "), "{said}");
        assert!(first.ends_with("; what was asked for goes on"), "{said}");
        assert_eq!(rest, "einhyrningsinsctl: oh\n");
    }

    /// Refuses every byte, for the given reason.
    struct Full(io::ErrorKind);

    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn output_that_fails_is_an_error_unless_the_reader_has_left() {
        for (kind, is_error) in [(io::ErrorKind::BrokenPipe, false), (io::ErrorKind::StorageFull, true)] {
            let (mut out, mut err) = (Full(kind), Full(kind));
            let mut screen = Screen::new(&mut out, &mut err, Style::Plain);
            screen.say("hello");
            screen.complain(&"oh");
            let outcome = if is_error { Outcome::Unwritten } else { Outcome::Done };
            assert_eq!(screen.conclude(Outcome::Done), outcome, "{kind}");
            assert_eq!(screen.conclude(Outcome::Failed), Outcome::Failed, "what is worse counts");
        }
    }
}
