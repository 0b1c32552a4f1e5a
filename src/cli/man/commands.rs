//! Commands in a manual page: the protocol's, as they are typed and as they are sent, and the client's own.

use super::{option, roff::Roff};
use crate::{
    cli::{client::sentence, tool::TOOLS},
    protocol::command::{Audience, COMMANDS, CommandOption, Entry, Served},
};

/// The supervisor's commands as they are typed.
pub(super) fn commands(out: &mut Roff) {
    for entry in COMMANDS {
        out.entry_typed(&entry.synopsis(), &sentence(&entry.clause()));
        options(out, entry, |_| true);
    }
}

/// The same as requests: what comes as `args`, or as fields.
pub(super) fn requests(out: &mut Roff) {
    for entry in COMMANDS {
        let mut text = sentence(&entry.clause());
        if let Audience::Workers { fields } = entry.audience {
            text += &format!(" Fields: {fields}. A PID in `args` will do as well.");
        }
        out.entry_typed(&entry.synopsis(), &text);
        options(out, entry, |option| option.served == Served::BySupervisor);
        let own: Vec<_> =
            entry.options.iter().filter(|option| option.served != Served::BySupervisor).collect();
        for option in own {
            out.indent();
            out.paragraph(&format!("`{}` is the client's own, and not sent.", option.name));
            out.outdent();
        }
    }
}

/// The options of a command, or which other has the same.
fn options(out: &mut Roff, entry: &Entry, which: fn(&CommandOption) -> bool) {
    let names = |entry: &Entry| entry.options.iter().map(|option| option.synopsis()).collect::<Vec<_>>();
    let first = COMMANDS.iter().find(|other| {
        other.takes == entry.takes && names(other) == names(entry) && !entry.options.is_empty()
    });
    let options: Vec<_> = entry.options.iter().filter(|option| which(option)).collect();
    if options.is_empty() {
        return;
    }
    out.indent();
    match first.filter(|first| first.name != entry.name) {
        Some(first) => out.paragraph(&format!("Options are those of `{}`.", first.name)),
        None => {
            for option in options {
                out.entry_typed(&option.synopsis(), &sentence(option.about));
            }
        }
    }
    out.outdent();
}

/// The client's own commands.
pub(super) fn tools(out: &mut Roff) {
    for tool in TOOLS {
        out.entry_typed(&tool.synopsis(), tool.line.summary);
        let options: Vec<_> = tool.line.options().filter(|option| !option.hidden).collect();
        if options.is_empty() {
            continue;
        }
        out.indent();
        options.into_iter().for_each(|it| option(out, it));
        out.outdent();
    }
}
