//! What a terminal sends, as keys.
//!
//! A key such as an arrow comes as several bytes that begin with that of Esc; over a slow line they may come one by
//! one. So a lone Esc is one only once nothing has followed it for [`PATIENCE`]. What is pasted is no key at all:
//! nobody has meant it as an order.

use std::{mem, time::Duration};

/// How long the rest of a key may take.
pub const PATIENCE: Duration = Duration::from_millis(250);

/// No key that is known here is longer; nor is a letter.
const LONGEST: usize = 32;

/// A key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the key of its name")]
pub enum Key {
    Letter(char),
    /// A letter together with Ctrl.
    Ctrl(char),
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
    Enter,
    Backspace,
    Esc,
}

/// The keys as the terminal names them behind its `ESC [`, or `ESC O`.
const NAMED: &[(&[u8], Key)] = &[
    (b"A", Key::Up),
    (b"B", Key::Down),
    (b"5~", Key::PageUp),
    (b"6~", Key::PageDown),
    (b"H", Key::Home),
    (b"1~", Key::Home),
    (b"7~", Key::Home),
    (b"F", Key::End),
    (b"4~", Key::End),
    (b"8~", Key::End),
];

/// Around what is pasted, if the terminal was asked to say so.
const PASTE: (&[u8], &[u8]) = (b"200~", b"201~");

/// Makes keys from bytes.
#[derive(Debug, Default)]
pub struct Keys {
    /// The beginning of a key.
    begun: Vec<u8>,
    pasting: bool,
}

/// What bytes come to.
enum Read {
    /// Nothing yet.
    More,
    /// A key, or none that is known.
    Key(Option<Key>),
    /// Pasting begins, or ends.
    Paste(bool),
}

impl Keys {
    /// Takes bytes, and returns the keys that are complete with them.
    pub fn take(&mut self, bytes: &[u8]) -> Vec<Key> {
        bytes.iter().filter_map(|byte| self.byte(*byte)).collect()
    }

    /// Whether something has begun that may go on.
    #[must_use]
    pub fn is_amid(&self) -> bool {
        !self.begun.is_empty()
    }

    /// Nothing has followed for so long: what has begun is at its end.
    pub fn give_up(&mut self) -> Option<Key> {
        let begun = mem::take(&mut self.begun);
        (begun == [ESC] && !self.pasting).then_some(Key::Esc)
    }

    fn byte(&mut self, byte: u8) -> Option<Key> {
        // Esc twice is one, and another that may be the beginning of something.
        let again = byte == ESC && self.begun == [ESC];
        if !again {
            self.begun.push(byte);
        }
        let read = if again { Read::Key(Some(Key::Esc)) } else { read(&self.begun) };
        let key = match read {
            Read::More if self.begun.len() < LONGEST => return None,
            Read::More => None,
            Read::Paste(begins) => {
                self.pasting = begins;
                None
            }
            Read::Key(key) => key.filter(|_| !self.pasting),
        };
        if !again {
            self.begun.clear();
        }
        key
    }
}

const ESC: u8 = 0x1b;

fn read(bytes: &[u8]) -> Read {
    match bytes {
        [ESC] | [ESC, b'[' | b'O'] => Read::More,
        [ESC, b'[' | b'O', rest @ .., last] => {
            // Parameters, then one that ends it (ECMA-48, section 5.4).
            if !(0x40..=0x7e).contains(last) {
                return Read::More;
            }
            let name = bytes.get(2..).unwrap_or_default();
            if [PASTE.0, PASTE.1].contains(&name) {
                return Read::Paste(name == PASTE.0);
            }
            // With Shift or Ctrl held, more parameters come in between.
            let plain = [rest.split(|byte| *byte == b';').next().unwrap_or_default(), &[*last]].concat();
            let found = |name: &[u8]| NAMED.iter().find(|(known, _)| *known == name).map(|(_, key)| *key);
            Read::Key(found(&plain).or_else(|| found(&[*last])))
        }
        // With Alt held: nothing here.
        [ESC, ..] => Read::Key(None),
        [b'\r' | b'\n'] => Read::Key(Some(Key::Enter)),
        [0x7f | 0x08] => Read::Key(Some(Key::Backspace)),
        [control @ 0x01..=0x1a] => Read::Key(Some(Key::Ctrl(char::from(control - 1 + b'a')))),
        [0x00..=0x1f] => Read::Key(None),
        bytes => match std::str::from_utf8(bytes) {
            Ok(letter) => Read::Key(letter.chars().next().map(Key::Letter)),
            Err(error) if error.error_len().is_none() => Read::More,
            Err(_) => Read::Key(None),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_in_one_piece_or_byte_by_byte() {
        let typed = b"q\x1b[A\x1b[1;5B\x1bOH\x1b[4~\x1b[6~\x03\r\x7f\xc3\xa9\x1b[99~\x00\x1bxj";
        let expected = [
            Key::Letter('q'),
            Key::Up,
            Key::Down,
            Key::Home,
            Key::End,
            Key::PageDown,
            Key::Ctrl('c'),
            Key::Enter,
            Key::Backspace,
            Key::Letter('é'),
            Key::Letter('j'),
        ];
        assert_eq!(Keys::default().take(typed), expected);
        let mut keys = Keys::default();
        let one_by_one: Vec<Key> = typed.iter().flat_map(|byte| keys.take(&[*byte])).collect();
        assert_eq!(one_by_one, expected);
    }

    #[test]
    fn esc_is_one_when_nothing_follows() {
        let mut keys = Keys::default();
        assert_eq!(keys.take(b"\x1b"), []);
        assert!(keys.is_amid());
        assert_eq!(keys.give_up(), Some(Key::Esc));
        assert!(!keys.is_amid());
        assert_eq!(keys.take(b"\x1b\x1b"), [Key::Esc]);
        assert_eq!(keys.take(b"[A"), [Key::Up]);
        assert_eq!(keys.take(b"\x1b["), []);
        assert_eq!(keys.give_up(), None, "half a key is none");
    }

    #[test]
    fn what_is_pasted_is_no_order() {
        let mut keys = Keys::default();
        assert_eq!(keys.take(b"\x1b[200~uy\x1b[Aq\x03"), []);
        assert_eq!(keys.take(b"\x1b[201~k"), [Key::Letter('k')]);
    }

    #[test]
    fn nonsense_is_nothing_and_takes_no_room() {
        let mut keys = Keys::default();
        assert_eq!(keys.take(b"\xff\xfe\x1b["), []);
        for _ in 0..100 {
            keys.take(b"0;0;0;0;0;0;");
            assert!(keys.begun.len() < LONGEST);
        }
    }
}
