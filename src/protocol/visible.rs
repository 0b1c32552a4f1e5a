//! Text of whoever, made fit for a terminal and for a log.
//!
//! Names, arguments and answers come from anybody. Shown as they are, they could move the cursor, set the
//! window's title, start another line or turn the reading order round (Unicode technical report 36,
//! section 2.8). What would do so is shown escaped; all other text, in any script, stays as it is.

/// The text on one line.
#[must_use]
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for char in text.chars() {
        push(&mut shown, char);
    }
    shown
}

/// The text with its line ends.
#[must_use]
pub fn visible_lines(text: &str) -> String {
    text.split('\n').map(visible).collect::<Vec<_>>().join("\n")
}

/// Whether a character gives orders rather than being shown.
#[must_use]
pub fn gives_orders(char: char) -> bool {
    char.is_control()
        || matches!(
            char,
            // Marks and overrides of the reading order, line and paragraph separators.
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            // What takes no room at all: names that differ would look the same.
            | '\u{200b}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
        )
}

fn push(shown: &mut String, char: char) {
    if gives_orders(char) {
        shown.extend(char.escape_debug());
    } else {
        shown.push(char);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_gives_orders_to_a_terminal_is_shown_escaped() {
        for (text, shown) in [
            ("a\u{1b}[2Jb", r"a\u{1b}[2Jb"),
            ("\u{9b}31m", r"\u{9b}31m"),
            ("bell\u{7} back\u{8} del\u{7f}", r"bell\u{7} back\u{8} del\u{7f}"),
            ("\u{202e}txt.exe\u{2066}", r"\u{202e}txt.exe\u{2066}"),
            ("a\r\nb\tc\0", r"a\r\nb\tc\0"),
            ("\u{2028}\u{feff}", r"\u{2028}\u{feff}"),
        ] {
            assert_eq!(visible(text), shown);
        }
    }

    #[test]
    fn all_other_text_stays_as_it_is() {
        for text in ["", "it's \"so\" \\ `ok`", "é e\u{301} 漢字 שלום 🦄 4 → 6"] {
            assert_eq!(visible(text), text);
        }
    }

    #[test]
    fn line_ends_stay_where_lines_are_wanted_and_nothing_else_does() {
        assert_eq!(visible_lines("a\r\n\u{1b}b\n"), "a\\r\n\\u{1b}b\n");
    }
}
