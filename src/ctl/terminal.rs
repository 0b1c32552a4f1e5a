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

/// Measures the terminal. Its width is that of the variable `COLUMNS`, if somebody has set that, or else what
/// the terminal says at the moment: it may change at any time.
pub struct Ruler {
    fixed: Option<usize>,
    /// The one who can ask the terminal; `None` if there is none.
    editor: Option<Box<DefaultEditor>>,
}

impl Ruler {
    /// For the terminal that standard output is.
    #[must_use]
    pub fn new() -> Self {
        Self {
            fixed: columns(env::var_os("COLUMNS").as_deref()),
            editor: DefaultEditor::new().ok().map(Box::new),
        }
    }

    /// For a terminal of this width.
    #[must_use]
    pub fn fixed(columns: usize) -> Self {
        Self { fixed: Some(columns), editor: None }
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
    fn the_width_of_a_variable_is_taken_if_it_is_one() {
        for (variable, width) in
            [(Some("40"), Some(40)), (Some("0"), None), (Some(""), None), (Some("wide"), None), (None, None)]
        {
            assert_eq!(columns(variable.map(OsStr::new)), width, "{variable:?}");
        }
    }
}
