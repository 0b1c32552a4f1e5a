//! Text as man(7) takes it.
//!
//! Whatever a text holds comes out as it is: nothing of it is taken for an order or for a dash of another kind.

use core::fmt::Write as _;

/// Longer lines are broken, where there is a blank.
const WIDTH: usize = 78;

/// What is between two words of a text.
const BOLD: &str = "\\fB";
const ITALIC: &str = "\\fI";
const PLAIN: &str = "\\fP";

/// A page in the making.
#[derive(Debug)]
pub(super) struct Roff(String);

impl Roff {
    /// Begins a page.
    pub(super) fn page(name: &str, section: u8, volume: &str, about: &str) -> Self {
        let title = escaped(&name.to_uppercase());
        let version = escaped(&format!("einhyrningsins {}", env!("CARGO_PKG_VERSION")));
        let date = super::DATE;
        let mut out = Self(String::new());
        out.line(&format!(".TH {title} {section} {date} \"{version}\" \"{}\"", escaped(volume)));
        out.chapter("NAME");
        out.line(&format!("{} \\- {}", escaped(name), escaped(about)));
        out
    }

    /// The page.
    pub(super) fn text(self) -> String {
        self.0
    }

    fn line(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }

    /// Begins a section.
    pub(super) fn chapter(&mut self, title: &str) {
        self.line(&format!(".SH {}", escaped(title)));
    }

    /// Begins a part of a section.
    pub(super) fn heading(&mut self, title: &str) {
        self.line(&format!(".SS {}", escaped(title)));
    }

    /// Has the next line begin at the margin.
    pub(super) fn line_break(&mut self) {
        self.line(".br");
    }

    /// What is typed, in a line, with what stands for something in italics.
    pub(super) fn typed(&mut self, text: &str) {
        let text = typed(text);
        self.line(&text);
    }

    /// A paragraph.
    pub(super) fn paragraph(&mut self, text: &str) {
        // None begins right below a heading.
        if !self.0.lines().last().is_some_and(|line| line.starts_with(".S")) {
            self.line(".PP");
        }
        self.fill(text);
    }

    /// A point of a list.
    pub(super) fn point(&mut self, text: &str) {
        self.line(".IP \\(bu 3");
        self.fill(text);
    }

    /// A term, by one or several names, and what it means.
    pub(super) fn entry(&mut self, terms: &[&str], text: &str) {
        let terms: Vec<_> = terms.iter().map(|term| format!("{BOLD}{}{PLAIN}", escaped(term))).collect();
        self.term(&terms.join(", "), text);
    }

    /// The same of what is typed.
    pub(super) fn entry_typed(&mut self, term: &str, text: &str) {
        self.term(&typed(term), text);
    }

    /// The same of an option; `behind` is its value as it stands behind it.
    pub(super) fn option(&mut self, short: Option<char>, long: &str, behind: &str, text: &str) {
        let short = short.map(|short| format!("{BOLD}\\-{short}{PLAIN}, ")).unwrap_or_default();
        let long = escaped(long);
        self.term(&format!("{short}{BOLD}\\-\\-{long}{PLAIN}{}", typed(behind)), text);
    }

    fn term(&mut self, term: &str, text: &str) {
        self.line(".TP");
        self.line(&guarded(term));
        self.fill(text);
    }

    /// What follows belongs to the entry before.
    pub(super) fn indent(&mut self) {
        self.line(".RS");
    }

    /// So far.
    pub(super) fn outdent(&mut self) {
        self.line(".RE");
    }

    /// Lines as they are.
    pub(super) fn lines(&mut self, text: &str) {
        self.line(".PP");
        self.line(".RS 4");
        self.line(".EX");
        for line in text.lines() {
            // An empty line would be one too many for who checks pages.
            let line = if line.is_empty() { "\\&".to_owned() } else { guarded(&escaped(line)) };
            self.line(&line);
        }
        self.line(".EE");
        self.line(".RE");
    }

    /// Sentences, each in lines of its own.
    fn fill(&mut self, text: &str) {
        let mut line = String::new();
        for word in styled(text).split_whitespace() {
            if !line.is_empty() && line.len() + 1 + word.len() > WIDTH {
                self.line(&guarded(&std::mem::take(&mut line)));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
            if word.ends_with(['.', '!', '?']) {
                self.line(&guarded(&std::mem::take(&mut line)));
            }
        }
        if !line.is_empty() {
            self.line(&guarded(&line));
        }
    }
}

/// A line that begins with no order.
fn guarded(line: &str) -> String {
    if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line.to_owned() }
}

/// Text that is what it is.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '\\' => out.push_str("\\e"),
            '-' => out.push_str("\\-"),
            '"' => out.push_str("\\(dq"),
            '\'' => out.push_str("\\(aq"),
            '`' => out.push_str("\\(ga"),
            '^' => out.push_str("\\(ha"),
            '~' => out.push_str("\\(ti"),
            ascii if ascii.is_ascii() => out.push(ascii),
            // Writing to a String cannot fail.
            other => drop(write!(out, "\\[u{:04X}]", u32::from(other))),
        }
    }
    out
}

/// Sentences, with what stands in backquotes in bold.
fn styled(text: &str) -> String {
    let mut pieces = text.split('`');
    let is_paired = text.matches('`').count().is_multiple_of(2);
    if !is_paired {
        return escaped(text);
    }
    let mut out = pieces.next().map(escaped).unwrap_or_default();
    let mut bold = true;
    for piece in pieces {
        out.push_str(if bold { BOLD } else { PLAIN });
        out.push_str(&escaped(piece));
        bold = !bold;
    }
    out
}

/// What is typed as it is in bold, and what stands for something, in capitals, in italics.
fn typed(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    let is_part = |char: char| char.is_ascii_alphanumeric() || "-_:".contains(char);
    while let Some(first) = rest.chars().next() {
        let length = rest.find(|char: char| is_part(char) != is_part(first)).unwrap_or(rest.len());
        let (run, behind) = rest.split_at(length);
        rest = behind;
        if !is_part(first) {
            out.push_str(&escaped(run));
            continue;
        }
        let font = if first.is_ascii_uppercase() { ITALIC } else { BOLD };
        let _ = write!(out, "{font}{}{PLAIN}", escaped(run));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(make: impl FnOnce(&mut Roff)) -> String {
        let mut out = Roff(String::new());
        make(&mut out);
        out.0
    }

    #[test]
    fn whatever_a_text_holds_is_no_order() {
        assert_eq!(escaped(r"a\nb-c"), r"a\enb\-c");
        assert_eq!(escaped("\"'`^~"), r"\(dq\(aq\(ga\(ha\(ti");
        assert_eq!(escaped("→"), r"\[u2192]");
        assert_eq!(
            made(|out| out.entry(&[".x", "'y"], ".EE 'z")),
            ".TP\n\\fB.x\\fP, \\fB\\(aqy\\fP\n\\&.EE \\(aqz\n"
        );
        assert_eq!(made(|out| out.lines(".SH\n\n'x")), ".PP\n.RS 4\n.EX\n\\&.SH\n\\&\n\\(aqx\n.EE\n.RE\n");
        // Not even where a line is broken.
        let text = format!("{} .SH x", "y".repeat(76));
        assert_eq!(made(|out| out.paragraph(&text)), format!(".PP\n{}\n\\&.SH x\n", "y".repeat(76)));
    }

    #[test]
    fn what_is_typed_is_bold_and_what_stands_for_something_is_not() {
        assert_eq!(typed("signal SIG [PID...]"), r"\fBsignal\fP \fISIG\fP [\fIPID\fP...]");
        assert_eq!(typed("--env VAR=VALUE"), r"\fB\-\-env\fP \fIVAR\fP=\fIVALUE\fP");
        assert_eq!(styled("say `die --wait` now"), r"say \fBdie \-\-wait\fP now");
        assert_eq!(styled("one ` alone"), r"one \(ga alone");
    }

    #[test]
    fn a_sentence_begins_a_line_and_no_paragraph_follows_a_heading() {
        let text = made(|out| {
            out.heading("It");
            out.paragraph("One. Two\n   three.");
            out.paragraph("Four.");
        });
        assert_eq!(text, ".SS It\nOne.\nTwo three.\n.PP\nFour.\n");
    }
}
