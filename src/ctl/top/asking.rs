//! What changes the service is asked for first: whether that is meant, and of a signal, which and to whom.

use super::{
    keys::Key,
    model::{Effect, Model},
};
use crate::{
    cli::order::Order,
    protocol::{visible::visible, words::count},
};
use std::mem;

/// What keys mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Each has a meaning of its own.
    Watch,
    /// All keys are told, from that line on; any but those that scroll leads back.
    Help(usize),
    /// The letters of a signal's name.
    Which {
        /// So far.
        name: String,
        /// What is wrong with the one before.
        wrong: Option<String>,
    },
    /// To whom a signal goes.
    Whom {
        /// Which.
        signal: String,
        /// The process that is chosen.
        pid: u32,
        /// Its slot.
        slot: u32,
    },
    /// Yes or no.
    Sure {
        /// What is going to be done.
        words: Vec<String>,
        /// The same for people.
        question: String,
    },
}

/// A name is no longer than that.
const LONGEST: usize = 12;

impl Model {
    /// Begins to ask what that letter stands for.
    pub(super) fn ask(&mut self, letter: char) {
        let Some(report) = &self.report else {
            if letter == '?' {
                self.mode = Mode::Help(0);
            }
            return;
        };
        let workers = count(report.target, "worker");
        match letter {
            '?' | 'h' => self.mode = Mode::Help(0),
            'u' => self.make_sure(&["upgrade"], format!("upgrade: replace {workers}")),
            'a' => {
                let what = match &report.upgrade {
                    Some(upgrade) if upgrade.rolling_back => "abort: it is going back already; abort",
                    Some(_) => "abort: give the upgrade up and go back",
                    None => "abort: no upgrade is under way; abort",
                };
                self.make_sure(&["abort"], what.to_owned());
            }
            's' => self.mode = Mode::Which { name: String::new(), wrong: None },
            _ => {}
        }
    }

    fn make_sure(&mut self, words: &[&str], what: String) {
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        self.mode = Mode::Sure { words, question: format!("{what}?") };
    }

    /// Takes a key as an answer.
    pub(super) fn answer(&mut self, key: Key) -> Option<Effect> {
        // Unless it says otherwise, a key leads back.
        match (mem::replace(&mut self.mode, Mode::Watch), key) {
            (Mode::Help(line), Key::Down | Key::PageDown | Key::Letter('j')) => {
                self.mode = Mode::Help(line + 1)
            }
            (Mode::Help(line), Key::Up | Key::PageUp | Key::Letter('k')) => {
                self.mode = Mode::Help(line.saturating_sub(1));
            }
            (Mode::Which { name, .. }, key) => self.which(name, key),
            (Mode::Whom { signal, pid, slot }, Key::Letter(letter)) => match letter.to_ascii_lowercase() {
                'w' => {
                    let question = format!("send {signal} to pid {pid} of slot {slot}");
                    self.make_sure(&["signal", &signal, &pid.to_string()], question);
                }
                'a' => self.everybody(&signal),
                _ => {}
            },
            (Mode::Sure { words, .. }, Key::Letter('y' | 'Y')) => return Some(Effect::Tell(words)),
            (Mode::Sure { .. } | Mode::Whom { .. } | Mode::Help(_) | Mode::Watch, _) => {}
        }
        None
    }

    fn which(&mut self, mut name: String, key: Key) {
        let mut wrong = None;
        match key {
            Key::Esc => return,
            Key::Backspace => {
                name.pop();
            }
            Key::Letter(letter) if letter.is_ascii_alphanumeric() && name.len() < LONGEST => {
                name.push(letter.to_ascii_uppercase());
            }
            Key::Enter if name.is_empty() => return,
            Key::Enter => match Order::read(&["signal".to_owned(), name.clone()]) {
                Ok(_) => return self.whom(name),
                Err(why) => wrong = Some(visible(&why)),
            },
            Key::Letter(_) | Key::Ctrl(_) | Key::Up | Key::Down | Key::PageUp | Key::PageDown => {}
            Key::Home | Key::End => {}
        }
        if wrong.is_some() {
            name.clear();
        }
        self.mode = Mode::Which { name, wrong };
    }

    fn whom(&mut self, signal: String) {
        match self.chosen().and_then(|worker| Some((worker.pid?, worker.slot))) {
            Some((pid, slot)) => self.mode = Mode::Whom { signal, pid, slot },
            None => self.everybody(&signal),
        }
    }

    fn everybody(&mut self, signal: &str) {
        let all = self.report.as_ref().map_or(0, |report| report.workers.len());
        let question = format!("send {signal} to all {all} workers");
        self.make_sure(&["signal", signal], question);
    }

    /// The question that waits for an answer.
    #[must_use]
    pub fn question(&self) -> Option<String> {
        match &self.mode {
            Mode::Watch | Mode::Help(_) => None,
            Mode::Which { name, wrong: None } => {
                Some(format!("signal, such as HUP (Enter: go on, Esc: none): {name}"))
            }
            Mode::Which { name, wrong: Some(wrong) } => Some(format!("{wrong}: {name}")),
            Mode::Whom { signal, pid, slot } => {
                Some(format!("{signal} to the chosen worker, pid {pid} of slot {slot} (w), or to all (a)? "))
            }
            Mode::Sure { question, .. } => Some(format!("{question} (y: yes, any other key: no) ")),
        }
    }
}
