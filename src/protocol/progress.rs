//! How far an upgrade has come.

use super::{
    json::{members, number, text},
    reply::Envelope,
};
use crate::fsm::{id::Generation, text::Field as _, upgrade::Stage};
use core::fmt;
use miniserde::json::{Number, Object, Value};

/// The state of an upgrade, as its progress lines carry it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The generation that is coming.
    pub generation: Generation,
    /// Its healthy workers.
    pub healthy: u32,
    /// How many there are to be.
    pub target: u32,
    /// Old workers that were asked to go.
    pub retired: u32,
    /// How far the upgrade is.
    pub stage: Stage,
}

impl Progress {
    /// The line that says so. More lines follow it.
    #[must_use]
    pub fn envelope(&self) -> Envelope {
        let upgrade = members([
            ("generation", number(self.generation.0)),
            ("healthy", number(self.healthy)),
            ("target", number(self.target)),
            ("retired", number(self.retired)),
            ("stage", text(self.stage.word())),
        ]);
        Envelope {
            message: format!("{}: {self}", self.heading()),
            ok: true,
            wait: true,
            fields: members([("upgrade", Value::Object(upgrade))]),
            ..Envelope::default()
        }
    }

    /// Which generation it is about.
    fn heading(&self) -> String {
        let back = if self.is_back() { "going back to " } else { "" };
        format!("{back}generation {}", self.generation)
    }

    /// The counts for a place that has no room for more than they need, and then for fewer of them.
    /// Progress backwards must not read like success there either.
    #[must_use]
    pub fn in_short(&self) -> [String; 2] {
        let short = format!("{}/{}", self.healthy, self.target);
        if self.is_back() {
            [format!("{}: {self}", self.heading()), format!("going back: {short}")]
        } else {
            [self.to_string(), short]
        }
    }

    fn is_back(&self) -> bool {
        self.stage == Stage::Back
    }

    /// Reads it back from a line's fields; `None` if the line tells of something else.
    #[must_use]
    pub fn from_fields(fields: &Object) -> Option<Self> {
        let Some(Value::Object(upgrade)) = fields.get("upgrade") else { return None };
        let count = |name: &str| match upgrade.get(name) {
            Some(Value::Number(Number::U64(count))) => u32::try_from(*count).ok(),
            _ => None,
        };
        Some(Self {
            generation: Generation(count("generation")?),
            healthy: count("healthy")?,
            target: count("target")?,
            retired: count("retired")?,
            stage: stage(upgrade),
        })
    }
}

/// How far it is; a supervisor that does not say is taken to go forward.
fn stage(upgrade: &Object) -> Stage {
    match upgrade.get("stage") {
        Some(Value::String(word)) => Stage::get(word).unwrap_or(Stage::Spread),
        _ => Stage::Spread,
    }
}

/// The counts, without the generation.
impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} healthy, {} retired", self.healthy, self.target, self.retired)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_a_sentence_and_data_that_can_be_read_back() {
        let progress =
            Progress { generation: Generation(2), healthy: 2, target: 4, retired: 1, stage: Stage::Spread };
        let line = progress.envelope().encode();
        assert_eq!(
            line,
            "{\"message\":\"generation 2: 2/4 healthy, 1 retired\",\"ok\":true,\"wait\":true,\
             \"upgrade\":{\"generation\":2,\"healthy\":2,\"retired\":1,\"stage\":\"spread\",\"target\":4}}\n"
        );
        let fields = Envelope::parse(line.as_bytes()).unwrap().fields;
        assert_eq!(Progress::from_fields(&fields), Some(progress));
        assert_eq!(Progress::from_fields(&Object::new()), None);
    }
}
