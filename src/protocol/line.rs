//! Lines out of arbitrary chunks, in bounded memory.

use core::{fmt, mem};

/// The longest request line, in bytes without its line end. The control socket's documented limit.
pub const REQUEST_MAX: usize = 64 * 1024;

/// The longest reply line, in bytes without its line end. Replies are bounded by what the supervisor
/// has to tell, and `status` of ten thousand workers takes a few megabytes.
pub const REPLY_MAX: usize = 16 * 1024 * 1024;

/// A line was longer than the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overlong {
    /// The limit, in bytes.
    pub limit: usize,
}

impl fmt::Display for Overlong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a line may be at most {} bytes long", self.limit)
    }
}

impl core::error::Error for Overlong {}

/// Puts lines together from whatever pieces they come in. Never holds more than one line.
#[derive(Clone, Debug)]
pub struct LineBuffer {
    limit: usize,
    partial: Vec<u8>,
    skipping: bool,
}

impl LineBuffer {
    /// An empty buffer for lines of at most `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { limit, partial: Vec::new(), skipping: false }
    }

    /// What there is of a line that is not complete.
    #[must_use]
    pub fn partial(&self) -> &[u8] {
        &self.partial
    }

    /// How many bytes of a line that is not complete are kept; at most the limit.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.partial.len()
    }

    /// Takes the next complete line, without its line end (`\n` or `\r\n`), from what is kept and the
    /// front of `chunk`, which it advances. Call it until it returns `None`: then all of `chunk` is
    /// used up. Lines of nothing but white space are passed over.
    ///
    /// An overlong line is reported once, as soon as it is known to be one; the rest of it is
    /// discarded, and the line after it is read as usual.
    pub fn next_line(&mut self, chunk: &mut &[u8]) -> Option<Result<Vec<u8>, Overlong>> {
        while !chunk.is_empty() {
            let end = chunk.iter().position(|byte| *byte == b'\n');
            let (piece, rest) = chunk.split_at_checked(end.unwrap_or(chunk.len()))?;
            *chunk = rest.get(1..).unwrap_or_default();
            if !self.skipping {
                if piece.len() > self.limit - self.partial.len() {
                    self.partial = Vec::new();
                    self.skipping = end.is_none();
                    return Some(Err(Overlong { limit: self.limit }));
                }
                self.partial.extend_from_slice(piece);
            }
            if end.is_some() && !mem::take(&mut self.skipping) {
                let mut line = mem::take(&mut self.partial);
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                if !line.trim_ascii().is_empty() {
                    return Some(Ok(line));
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 8;

    fn lines_of(chunks: &[&[u8]]) -> Vec<Result<String, Overlong>> {
        let mut buffer = LineBuffer::new(LIMIT);
        let mut lines = Vec::new();
        for chunk in chunks {
            let mut chunk = *chunk;
            while let Some(line) = buffer.next_line(&mut chunk) {
                lines.push(line.map(|line| String::from_utf8(line).unwrap()));
                assert!(buffer.partial.len() <= LIMIT);
            }
            assert!(chunk.is_empty(), "all of a chunk is used");
        }
        lines
    }

    fn line(text: &str) -> Result<String, Overlong> {
        Ok(text.to_owned())
    }

    const OVERLONG: Result<String, Overlong> = Err(Overlong { limit: LIMIT });

    #[test]
    fn lines_do_not_depend_on_how_they_are_cut_into_chunks() {
        let bytes = b"one\ntwo\r\n\n \t\r\n123456789\n12345678\nlast\nrest";
        let expected = [line("one"), line("two"), OVERLONG, line("12345678"), line("last")];
        for size in 1..=bytes.len() {
            let chunks: Vec<&[u8]> = bytes.chunks(size).collect();
            assert_eq!(lines_of(&chunks), expected, "chunks of {size}");
        }
    }

    #[test]
    fn an_endless_line_is_reported_once_and_not_kept() {
        let endless = [b'x'; 5];
        let mut chunks: Vec<&[u8]> = vec![&endless; 100];
        assert_eq!(lines_of(&chunks), [OVERLONG]);
        chunks.push(b"\nnext\n");
        assert_eq!(lines_of(&chunks), [OVERLONG, line("next")]);
    }

    #[test]
    fn only_one_carriage_return_belongs_to_the_line_end() {
        assert_eq!(lines_of(&[b"a\r\r\n", b"\rb\n"]), [line("a\r"), line("\rb")]);
    }
}
