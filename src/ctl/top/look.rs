//! What the view is drawn with: letters, and what stands out by colour or without.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::{Color, Modifier, Style},
};

/// What the terminal can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Whether colours are wanted.
    pub colours: bool,
    /// Whether it shows more than ASCII.
    pub unicode: bool,
}

/// How something stands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// Not at all.
    Plain,
    /// It is important.
    Strong,
    /// It is as it should be.
    Good,
    /// It is on its way.
    Busy,
    /// It is wrong.
    Bad,
    /// It is not so important.
    Faint,
    /// It heads what follows.
    Title,
}

impl Look {
    /// The style for that.
    #[must_use]
    pub fn style(self, tone: Tone) -> Style {
        let coloured = |colour| if self.colours { Style::new().fg(colour) } else { Style::new() };
        match tone {
            Tone::Plain => Style::new(),
            Tone::Strong => Style::new().add_modifier(Modifier::BOLD),
            Tone::Good => coloured(Color::Green),
            Tone::Busy => coloured(Color::Yellow),
            Tone::Bad => coloured(Color::Red).add_modifier(Modifier::BOLD),
            Tone::Faint => coloured(Color::DarkGray),
            Tone::Title => Style::new().add_modifier(Modifier::REVERSED),
        }
    }

    /// Numbers as a line, each a letter; as high as `most`, or higher, is full.
    pub fn line(self, numbers: impl Iterator<Item = u32>, most: u32) -> String {
        const FINE: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
        const COARSE: [char; 5] = [' ', '.', ':', '|', '#'];
        let letters: &[char] = if self.unicode { &FINE } else { &COARSE };
        let highest = u64::try_from(letters.len() - 1).unwrap_or(1);
        let letter = |number: u32| {
            // What is not nothing shows.
            let height = (u64::from(number) * highest).div_ceil(u64::from(most.max(1))).min(highest);
            letters.get(usize::try_from(height).unwrap_or_default()).copied().unwrap_or(' ')
        };
        numbers.map(letter).collect()
    }
}

/// A line of the screen that is written to from the left.
#[derive(Debug)]
pub struct Pen<'a> {
    buffer: &'a mut Buffer,
    look: Look,
    at: u16,
    end: u16,
    row: u16,
}

impl<'a> Pen<'a> {
    /// Begins at the left of the first line of `area`.
    pub fn new(buffer: &'a mut Buffer, look: Look, area: Rect) -> Self {
        let area = area.intersection(buffer.area);
        let end = if area.height == 0 { area.left() } else { area.right() };
        Self { buffer, look, at: area.left(), end, row: area.top() }
    }

    /// How many columns are left.
    #[must_use]
    pub fn room(&self) -> usize {
        usize::from(self.end.saturating_sub(self.at))
    }

    /// Writes what fits, and says in its last letter that something does not.
    pub fn put(&mut self, text: &str, tone: Tone) {
        let room = self.room();
        if room == 0 {
            return;
        }
        let style = self.look.style(tone);
        let (to, _) = self.buffer.set_stringn(self.at, self.row, text, room, style);
        if text.len() > room && width(text) > room {
            let mark = if self.look.unicode { "…" } else { ">" };
            self.buffer.set_stringn(self.end - 1, self.row, mark, 1, style);
        }
        self.at = to;
    }

    /// Writes it if all of it fits, and says whether.
    pub fn put_whole(&mut self, text: &str, tone: Tone) -> bool {
        let fits = width(text) <= self.room();
        if fits {
            self.put(text, tone);
        }
        fits
    }

    /// Writes it into so many columns, at the left.
    pub fn left(&mut self, text: &str, columns: u16, tone: Tone) {
        let end = self.end;
        self.end = self.at.saturating_add(columns).min(end);
        let next = self.end;
        self.put(text, tone);
        (self.at, self.end) = (next, end);
    }

    /// Writes it into so many columns, at the right.
    pub fn right(&mut self, text: &str, columns: u16, tone: Tone) {
        let missing = columns.saturating_sub(u16::try_from(width(text)).unwrap_or(u16::MAX));
        self.skip(missing);
        self.left(text, columns - missing, tone);
    }

    /// Leaves some columns free.
    pub fn skip(&mut self, columns: u16) {
        self.at = self.at.saturating_add(columns).min(self.end);
    }
}

/// A text as lines of so many columns, at most `most` of them: the rest stays in the last. It is broken at blanks.
#[must_use]
pub fn fold(text: &str, columns: usize, most: usize) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = text;
    while lines.len() + 1 < most && width(rest) > columns {
        let ends = rest.match_indices(' ').map(|(at, _)| at);
        let fitting = ends.take_while(|at| width(rest.get(..*at).unwrap_or_default()) <= columns);
        let Some((line, tail)) = fitting.last().and_then(|at| rest.split_at_checked(at)) else { break };
        lines.push(line);
        rest = tail.trim_start();
    }
    lines.push(rest);
    lines
}

/// How many columns a text takes.
#[must_use]
pub fn width(text: &str) -> usize {
    ratatui::text::Span::raw(text).width()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOK: Look = Look { colours: false, unicode: true };

    #[test]
    fn without_colours_no_tone_has_one() {
        for tone in [Tone::Plain, Tone::Strong, Tone::Good, Tone::Busy, Tone::Bad, Tone::Faint, Tone::Title] {
            let style = LOOK.style(tone);
            assert_eq!((style.fg, style.bg), (None, None), "{tone:?}");
        }
        assert_eq!(Look { colours: true, ..LOOK }.style(Tone::Good).fg, Some(Color::Green));
    }

    #[test]
    fn numbers_are_a_line_in_which_nothing_is_nothing() {
        let numbers = || [0, 1, 50, 100, 1_000].into_iter();
        assert_eq!(LOOK.line(numbers(), 100), " ▁▄██");
        assert_eq!(Look { unicode: false, ..LOOK }.line(numbers(), 100), " .:##");
        assert_eq!(LOOK.line([0, 1].into_iter(), 0), " █");
    }

    #[test]
    fn what_is_too_long_is_broken_at_blanks() {
        assert_eq!(fold("a long text", 20, 2), ["a long text"]);
        assert_eq!(fold("a long text", 7, 2), ["a long", "text"]);
        assert_eq!(fold("a long text", 6, 2), ["a long", "text"]);
        assert_eq!(fold("a long text", 3, 2), ["a", "long text"]);
        assert_eq!(fold("a long text", 3, 1), ["a long text"]);
        assert_eq!(fold("along text", 3, 2), ["along text"]);
        assert_eq!(fold("", 0, 2), [""]);
    }

    #[test]
    fn a_pen_stays_on_its_line_whatever_is_written() {
        let area = Rect::new(0, 0, 8, 2);
        let shown = |write: &dyn Fn(&mut Pen<'_>)| {
            let mut buffer = Buffer::empty(area);
            write(&mut Pen::new(&mut buffer, LOOK, Rect::new(0, 0, 8, 1)));
            let cells: String = buffer.content.iter().map(|cell| cell.symbol()).collect();
            assert!(cells.ends_with(&" ".repeat(8)), "{cells}");
            cells.trim_end().to_owned()
        };
        assert_eq!(shown(&|pen| pen.put("a long text", Tone::Plain)), "a long …");
        assert_eq!(shown(&|pen| pen.put("漢字漢字", Tone::Plain)), "漢 字 漢 字");
        assert_eq!(shown(&|pen| assert!(!pen.put_whole("a long text", Tone::Plain))), "");
        assert_eq!(
            shown(&|pen| {
                pen.left("abcd", 3, Tone::Plain);
                pen.right("1", 3, Tone::Plain);
                pen.left("xyz", 9, Tone::Plain);
                pen.put("no", Tone::Plain);
            }),
            "ab…  1x…"
        );
    }
}
