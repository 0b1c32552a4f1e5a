//! As much of YAML 1.1 as clients write: a block mapping whose values are scalars, or lists of them.
//!
//! What else YAML has is refused by its name, not misread: tags, anchors, aliases, nesting.

use super::scalar::{self, Quote};
use crate::protocol::{json::list, typed::quoted};
use miniserde::json::{Object, Value};

/// Why a text is none.
#[derive(Debug)]
pub(super) enum Error {
    /// It does not even begin like one.
    NoMapping,
    /// It has something in it that is not accepted.
    In { line: usize, what: String },
}

/// Reads all of a text as a mapping.
pub(super) fn mapping(text: &str) -> Result<Object, Error> {
    let mut lines = Lines::new(text);
    let mut object = Object::new();
    let mut started = false;
    while let Some(line) = lines.next() {
        let marker = line.trim_end_matches(WHITE);
        if is_blank(line) || (marker == "---" && !started) {
            started |= marker == "---";
            continue;
        }
        if marker == "..." && !object.is_empty() {
            break;
        }
        let (key, value) = match key(line) {
            Ok(found) => found,
            Err(Found::Nothing) if !started => return Err(Error::NoMapping),
            Err(found) => return Err(lines.error(found.words(line))),
        };
        started = true;
        let value = match uncommented(value) {
            "" => lines.block(&key)?,
            "[]" => list([]),
            value => lines.scalar(value, 0)?,
        };
        object.insert(key, value);
    }
    while let Some(line) = lines.next() {
        if !is_blank(line) {
            return Err(lines.error(format!("{} is behind the end, `...`", quoted(line))));
        }
    }
    if object.is_empty() { Err(Error::NoMapping) } else { Ok(object) }
}

/// Why a line does not begin with a key.
enum Found {
    Nothing,
    Indented,
    Item,
    Unfit(&'static str),
}

impl Found {
    fn words(&self, line: &str) -> String {
        let line = quoted(line.trim());
        match self {
            Self::Nothing => format!("{line} is no `key: value`"),
            Self::Indented => format!("{line} is nested"),
            Self::Item => format!("{line} is an item of no list"),
            Self::Unfit(what) => format!("{line} has {what} as a key"),
        }
    }
}

/// The key of a line, and what follows it.
fn key(line: &str) -> Result<(String, &str), Found> {
    if line.starts_with(WHITE) {
        return Err(Found::Indented);
    }
    if is_item(line) {
        return Err(Found::Item);
    }
    let (key, rest) = match Quote::of(line) {
        Some(quote) => {
            let mut text = String::new();
            let rest = line.get(1..).unwrap_or_default();
            let rest = match quote.read(rest, &mut text) {
                Ok(scalar::Piece::Closed(rest)) => rest,
                Ok(scalar::Piece::Open { .. }) | Err(_) => return Err(Found::Nothing),
            };
            (text, rest.trim_start_matches(WHITE).strip_prefix(':').ok_or(Found::Nothing)?)
        }
        None => {
            let (key, rest) = pair(line).ok_or(Found::Nothing)?;
            (key.trim_end_matches(WHITE).to_owned(), rest)
        }
    };
    if Quote::of(line).is_none() {
        let unfit = match key.chars().next() {
            Some('?') => Some("`?`"),
            Some('&' | '*') => Some("an anchor or alias"),
            Some('!') => Some("a tag"),
            Some('[' | '{') => Some("a collection"),
            _ => None,
        };
        if let Some(what) = unfit {
            return Err(Found::Unfit(what));
        }
    }
    let key = key.strip_prefix(':').map(str::to_owned).unwrap_or(key);
    Ok((key, rest))
}

/// What is before and behind the first colon that ends a key.
fn pair(text: &str) -> Option<(&str, &str)> {
    let ends = |rest: &str| rest.is_empty() || rest.starts_with(WHITE);
    text.match_indices(':').find_map(|(at, _)| {
        let (key, rest) = (text.get(..at)?, text.get(at + 1..)?);
        (at > 0 && ends(rest)).then_some((key, rest))
    })
}

fn is_item(text: &str) -> bool {
    text.strip_prefix('-').is_some_and(|rest| rest.is_empty() || rest.starts_with(WHITE))
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

/// Whether there is nothing on a line.
fn is_empty(line: &str) -> bool {
    line.trim_matches(WHITE).is_empty()
}

/// Whether there is nothing on a line but a comment.
fn is_blank(line: &str) -> bool {
    let line = line.trim_matches(WHITE);
    line.is_empty() || line.starts_with('#')
}

/// What stands on a line without the white space around it, and without the comment behind it; a quoted text is
/// left as it is.
fn uncommented(text: &str) -> &str {
    let text = text.trim_start_matches(WHITE);
    if text.starts_with('#') {
        return "";
    }
    if text.starts_with(['\'', '"', '!']) {
        return text;
    }
    let before = |at: usize| text.get(..at).unwrap_or_default();
    let mut marks = text.match_indices('#').map(|(at, _)| before(at));
    let text = marks.find(|before| before.ends_with(WHITE)).unwrap_or(text);
    text.trim_end_matches(WHITE)
}

/// What ends a line: YAML 1.1, section 4.1.4. Psych writes some of that as it is.
const BREAKS: [char; 4] = ['\n', '\u{85}', '\u{2028}', '\u{2029}'];

/// White space on a line.
const WHITE: [char; 2] = [' ', '\t'];

/// The lines of a text, and which was the last one taken.
#[derive(Clone)]
struct Lines<'a> {
    rest: Option<&'a str>,
    number: usize,
    /// What ended that one, if anything did.
    end: Option<char>,
}

impl<'a> Lines<'a> {
    fn new(text: &'a str) -> Self {
        Self { rest: Some(text), number: 0, end: None }
    }

    /// The next line, what ends it, and what is behind that.
    fn look(&self) -> Option<(&'a str, Option<char>, Option<&'a str>)> {
        let rest = self.rest?;
        let (line, end, behind) = match rest.find(BREAKS).and_then(|at| rest.split_at_checked(at)) {
            Some((line, behind)) => {
                let mut behind = behind.chars();
                (line, behind.next(), Some(behind.as_str()))
            }
            None => (rest, None, None),
        };
        // In a text it stands for an ordinary line end; the others stand for themselves.
        let end = end.map(|end| if end == '\u{85}' { '\n' } else { end });
        Some((line.strip_suffix('\r').filter(|_| end == Some('\n')).unwrap_or(line), end, behind))
    }

    fn peek(&self) -> Option<&'a str> {
        self.look().map(|(line, ..)| line)
    }

    fn next(&mut self) -> Option<&'a str> {
        let (line, end, behind) = self.look()?;
        (self.rest, self.end) = (behind, end);
        self.number += 1;
        Some(line)
    }

    fn error(&self, what: impl Into<String>) -> Error {
        Error::In { line: self.number, what: what.into() }
    }

    /// What stands on the lines below a key: a list, or nothing at all.
    fn block(&mut self, key: &str) -> Result<Value, Error> {
        while self.peek().is_some_and(is_blank) {
            self.next();
        }
        let Some(first) = self.peek() else {
            return Ok(Value::Null);
        };
        let depth = indent(first);
        if !is_item(first.trim_start_matches(' ')) {
            return if depth == 0 {
                Ok(Value::Null)
            } else {
                self.next();
                Err(self.error(format!("{} is nested in {}", quoted(first.trim()), quoted(key))))
            };
        }
        let mut items = Vec::new();
        while let Some(line) = self.peek() {
            let item = line.trim_start_matches(' ');
            if is_blank(line) {
                self.next();
                continue;
            }
            if indent(line) != depth || !is_item(item) {
                break;
            }
            self.next();
            let text = uncommented(item.get(1..).unwrap_or_default());
            items.push(if text.is_empty() { Value::Null } else { self.scalar(text, depth)? });
        }
        Ok(list(items))
    }

    /// A scalar that begins with `text`, which is not empty, on the line taken last, in a collection that is
    /// indented by `depth` blanks.
    fn scalar(&mut self, text: &str, depth: usize) -> Result<Value, Error> {
        if let Some(quote) = Quote::of(text) {
            return self.quoted(quote, text).map(Value::String);
        }
        let what = match text.chars().next() {
            Some('|') => return self.literal(text, depth).map(Value::String),
            Some('!') => {
                // Only where it says what is so without it: yaml.v2 and Psych mark a text that looks like a
                // merge key.
                let tagged = text.strip_prefix("!!str").map(|rest| rest.trim_start_matches(WHITE));
                return match tagged.and_then(|text| Some((text, Quote::of(text)?))) {
                    Some((text, quote)) => self.quoted(quote, text).map(Value::String),
                    None => Err(self.error(format!("{} has a tag", quoted(text)))),
                };
            }
            Some('&') => "is an anchor",
            Some('*') => "is an alias",
            Some('[' | '{') => "is nested",
            Some('>') => "is a folded block",
            Some('%' | '@' | '`' | ']' | '}' | ',') => "begins with what no plain text may",
            _ if is_item(text) => "is nested",
            Some('?') if text == "?" || text.starts_with("? ") => "is a key of many lines",
            _ => return self.plain(text, depth),
        };
        Err(self.error(format!("{} {what}", quoted(text))))
    }

    /// A plain scalar, which goes on over lines that are indented further.
    fn plain(&mut self, text: &str, depth: usize) -> Result<Value, Error> {
        let mut folded = String::new();
        let mut line = text;
        loop {
            if pair(line).is_some() {
                return Err(self.error(format!("{} is a `key: value` in a value", quoted(line))));
            }
            folded.push_str(line);
            let end = self.end;
            let empty = self.empty_lines();
            // What is indented no further is something else.
            if !self.peek().is_some_and(|line| indent(line) > depth && !is_blank(line)) {
                break;
            }
            scalar::fold(&mut folded, end, &empty);
            line = uncommented(self.next().unwrap_or_default());
        }
        Ok(if folded.len() == text.len() { scalar::plain(text) } else { Value::String(folded) })
    }

    /// Takes lines on which nothing is, and returns what ended them. What is behind the last line end is none.
    fn empty_lines(&mut self) -> String {
        let mut ends = String::new();
        while let Some((_, Some(end), _)) = self.look().filter(|(line, ..)| is_empty(line)) {
            ends.push(end);
            self.next();
        }
        ends
    }

    /// A quoted scalar, which may be folded over any number of lines.
    fn quoted(&mut self, quote: Quote, text: &str) -> Result<String, Error> {
        let begun = self.number;
        let mut scalar = String::new();
        let mut rest = text.get(1..).unwrap_or_default();
        loop {
            match quote.read(rest, &mut scalar).map_err(|what| self.error(what))? {
                scalar::Piece::Closed(behind) => {
                    let is_comment = !behind.starts_with('#') && uncommented(behind).is_empty();
                    return is_comment.then_some(scalar).ok_or_else(|| {
                        self.error(format!("{} is behind a closing quote", quoted(behind.trim())))
                    });
                }
                scalar::Piece::Open { joined } => {
                    let end = self.end.filter(|_| !joined);
                    let empty = self.empty_lines();
                    let Some(line) = self.next() else {
                        let what = format!("the quote of {} is not closed", quoted(text));
                        return Err(Error::In { line: begun, what });
                    };
                    rest = line.trim_start_matches(WHITE);
                    scalar::fold(&mut scalar, end, &empty);
                }
            }
        }
    }

    /// A block of lines as they are, behind `|`: an indentation, if the first line begins with a blank, and
    /// what becomes of the line ends at its end.
    fn literal(&mut self, header: &str, depth: usize) -> Result<String, Error> {
        let (mut indented, mut chomping) = (None, None);
        for char in header.chars().skip(1) {
            match char {
                '1'..='9' if indented.is_none() => {
                    indented = char.to_digit(10).and_then(|digit| usize::try_from(digit).ok());
                }
                '-' | '+' if chomping.is_none() => chomping = Some(char),
                _ => return Err(self.error(format!("{} begins no block", quoted(header)))),
            }
        }
        let mut block = String::new();
        // How much of it is there up to the last line that is not empty, without and with the end of that line.
        let (mut text, mut ended) = (0, 0);
        let mut width = indented.map(|further| depth + further);
        // What is behind the last line end is no line.
        while let Some((line, end, _)) =
            self.look().filter(|(line, end, _)| !(line.is_empty() && end.is_none()))
        {
            let white = indent(line);
            let is_empty = white == line.len() && width.is_none_or(|width| white <= width);
            if !is_empty && white < *width.get_or_insert(white.max(depth + 1)) {
                break;
            }
            self.next();
            block.push_str(width.and_then(|width| line.get(width..)).unwrap_or_default());
            text = if is_empty { text } else { block.len() };
            block.extend(end);
            ended = if is_empty { ended } else { block.len() };
        }
        match chomping {
            Some('+') => {}
            Some(_) => block.truncate(text),
            None => block.truncate(ended),
        }
        Ok(block)
    }
}
