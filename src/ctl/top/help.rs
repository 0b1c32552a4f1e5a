//! What keys do.

use super::look::{Look, Pen, Tone};
use ratatui::{buffer::Buffer, layout::Rect};

const LINES: &[(&str, &str)] = &[
    ("q Esc Ctrl-C", "leave; the service and what was begun go on"),
    ("j k, arrows", "choose a worker; PgUp PgDn Home End: further"),
    ("g", "groups by generation and phase, or one by one"),
    ("Enter", "open or close the group"),
    ("+ -", "a worker more, a worker fewer: inc, dec"),
    ("r", "retry: try slots that have failed at once"),
    ("u", "upgrade: asks first"),
    ("a", "abort the upgrade and go back: asks first"),
    ("s", "signal: asks which, to whom, and if sure"),
    ("Ctrl-Z Ctrl-L", "suspend; draw again"),
    ("", ""),
    ("RESTARTS", "how often the slot was filled again"),
    ("CPU%", "of one processor, since the last look"),
    ("RSS PSS", "memory; PSS has its part of what is shared"),
    ("GEN", "the generation that the worker runs"),
];

/// Draws it from that line on, or from a later one that fills the screen.
pub fn draw(look: Look, from: usize, area: Rect, buffer: &mut Buffer) {
    let mut lines = area.rows();
    let Some(title) = lines.next() else { return };
    Pen::new(buffer, look, title).put("KEYS (j k: scroll; any other leads back)", Tone::Plain);
    buffer.set_style(title, look.style(Tone::Title));
    let last = LINES.len().saturating_sub(usize::from(area.height.saturating_sub(1)));
    for ((key, does), line) in LINES.iter().skip(from.min(last)).zip(lines) {
        let mut pen = Pen::new(buffer, look, line);
        pen.left(key, 14, Tone::Strong);
        pen.put(does, Tone::Plain);
    }
}
