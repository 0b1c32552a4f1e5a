//! What the terminal is like that answers are shown on.

use rustyline::DefaultEditor;
use std::{env, ffi::OsStr, fmt, io, io::IsTerminal as _};

/// Where nothing tells.
const COLUMNS: usize = 80;

/// Whether standard output is a terminal that one can draw on. One that calls itself dumb is not.
#[must_use]
pub fn can_draw() -> bool {
    io::stdout().is_terminal() && env::var_os("TERM").is_none_or(|name| name != "dumb")
}

/// Why the terminal, or what there is instead, cannot be filled with a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lacking(pub &'static str);

/// Whether there is a terminal that a view can fill, and keys can come from.
///
/// # Errors
/// What there is instead.
pub fn can_be_filled() -> Result<(), Lacking> {
    let name = env::var_os("TERM").unwrap_or_default();
    if !io::stdout().is_terminal() {
        Err(Lacking("standard output is none"))
    } else if !io::stdin().is_terminal() {
        Err(Lacking("standard input is none"))
    } else if name.is_empty() {
        Err(Lacking("the variable TERM does not say which this is"))
    } else if name == "dumb" || name == "unknown" {
        Err(Lacking("one that TERM calls dumb or unknown cannot be drawn on"))
    } else {
        Ok(())
    }
}

/// Whether the terminal is to show colours.
#[must_use]
pub fn wants_colours() -> bool {
    let [no_color, term] = ["NO_COLOR", "TERM"].map(|name| env::var_os(name).unwrap_or_default());
    can_draw() && are_wanted(&no_color, &term)
}

/// Not if somebody has said that they are not to be (<https://no-color.org>), nor on a terminal that is not known or
/// known to have none.
fn are_wanted(no_color: &OsStr, term: &OsStr) -> bool {
    let term = term.to_string_lossy();
    let has_none = term.is_empty()
        || ["dumb", "unknown", "sun", "cygwin-mono"].contains(&&*term)
        || term.starts_with("vt")
        || term.ends_with("-m")
        || term.ends_with("-mono");
    no_color.is_empty() && !has_none
}

/// Whether the terminal is said to show more than ASCII, as locale(7) has it.
#[must_use]
pub fn can_write_unicode() -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().filter_map(env::var_os);
    is_unicode(locale.into_iter().find(|value| !value.is_empty()).as_deref())
}

fn is_unicode(locale: Option<&OsStr>) -> bool {
    let locale = locale.map(|locale| locale.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    locale.contains("utf-8") || locale.contains("utf8")
}

/// Measures the terminal. Its width is that of the variable `COLUMNS`, if somebody has set that, or else what
/// the terminal says at the moment: it may change at any time.
pub struct Ruler {
    fixed: Option<usize>,
    /// The one who can ask the terminal; `None` if there is none.
    editor: Option<Box<DefaultEditor>>,
    has_colours: bool,
}

impl Ruler {
    /// For the terminal that standard output is.
    #[must_use]
    pub fn new() -> Self {
        Self {
            fixed: columns(env::var_os("COLUMNS").as_deref()),
            editor: DefaultEditor::new().ok().map(Box::new),
            has_colours: wants_colours(),
        }
    }

    /// For a terminal of this width, without colours.
    #[must_use]
    pub fn fixed(columns: usize) -> Self {
        Self { fixed: Some(columns), editor: None, has_colours: false }
    }

    /// Whether it is to show colours.
    #[must_use]
    pub fn has_colours(&self) -> bool {
        self.has_colours
    }

    /// The width, in columns.
    pub fn columns(&mut self) -> usize {
        let asked = || Some(usize::from(self.editor.as_mut()?.dimensions()?.0));
        self.fixed.or_else(asked).unwrap_or(COLUMNS)
    }
}

impl Default for Ruler {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Ruler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ruler").field("fixed", &self.fixed).finish_non_exhaustive()
    }
}

/// The width that a variable says, if it says one.
fn columns(variable: Option<&OsStr>) -> Option<usize> {
    variable?.to_str()?.parse().ok().filter(|columns| *columns > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_who_has_them_and_has_not_said_no() {
        for (no_color, term, wanted) in [
            ("", "xterm-256color", true),
            ("", "screen", true),
            ("", "linux", true),
            ("1", "xterm-256color", false),
            ("0", "xterm", false),
            ("", "dumb", false),
            ("", "", false),
            ("", "vt100", false),
            ("", "xterm-mono", false),
            ("", "linux-m", false),
        ] {
            assert_eq!(are_wanted(OsStr::new(no_color), OsStr::new(term)), wanted, "{no_color} {term}");
        }
    }

    #[test]
    fn the_locale_says_what_letters_there_are() {
        for (locale, unicode) in
            [(Some("en_US.UTF-8"), true), (Some("C.utf8"), true), (Some("C"), false), (None, false)]
        {
            assert_eq!(is_unicode(locale.map(OsStr::new)), unicode, "{locale:?}");
        }
    }

    #[test]
    fn the_width_of_a_variable_is_taken_if_it_is_one() {
        for (variable, width) in
            [(Some("40"), Some(40)), (Some("0"), None), (Some(""), None), (Some("wide"), None), (None, None)]
        {
            assert_eq!(columns(variable.map(OsStr::new)), width, "{variable:?}");
        }
    }
}
