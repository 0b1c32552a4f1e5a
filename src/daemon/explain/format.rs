//! What the first bytes of a file say about who is to execute it. Read only to explain a refusal: what is
//! executed is for the kernel to say.

use nix::sys::uio::pread;
use std::{ffi::OsString, fs::File, io, os::unix::ffi::OsStringExt as _, path::Path, path::PathBuf};

/// How much of a script the kernel looks at, `BINPRM_BUF_SIZE` in its sources. A first line that is no
/// shorter is cut off.
const SCRIPT_HEAD: usize = 256;

/// How much is read: enough for the program headers, which come first in whatever linkers make.
const HEAD: usize = 4096;

/// An entry of the program headers that names an interpreter; `PT_INTERP` in elf(5).
const INTERPRETER: u64 = 3;

/// What a file is, by its first bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Nothing is in it.
    Empty,
    /// A script.
    Script {
        /// What its first line asks for, if anything.
        interpreter: Option<PathBuf>,
        /// Whether the kernel sees all of that line.
        line: Line,
    },
    /// A script behind a byte order mark, which hides what it is.
    Marked,
    /// A program or library in the system's own format.
    Elf {
        /// What is to load it, if that is not the kernel alone.
        loader: Option<PathBuf>,
        /// The kind of machine it is for, as elf(5) numbers them.
        machine: u64,
    },
    /// Anything else.
    Other,
}

/// How long the first line of a script is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// The kernel reads it all.
    Whole,
    /// It is cut off.
    Overlong,
}

impl Format {
    /// Reads the beginning of a file.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let (file, head) = head(path)?;
        Ok(match head.as_slice() {
            [] => Self::Empty,
            [b'#', b'!', line @ ..] => Self::script(line),
            [0xEF, 0xBB, 0xBF, b'#', b'!', ..] => Self::Marked,
            [0x7F, b'E', b'L', b'F', ..] => elf(&file, &head).unwrap_or(Self::Other),
            _ => Self::Other,
        })
    }

    /// `text` is what follows the two letters.
    fn script(text: &[u8]) -> Self {
        let seen = text.get(..SCRIPT_HEAD - 2).unwrap_or(text);
        let end = seen.iter().position(|byte| *byte == b'\n');
        // A file may end without an end of its line.
        let line = if end.is_some() || text.len() == seen.len() { Line::Whole } else { Line::Overlong };
        let seen = seen.get(..end.unwrap_or(seen.len())).unwrap_or(seen);
        // The kernel takes blanks and tabs for separators, and nothing else.
        let mut words = seen.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty());
        Self::Script { interpreter: words.next().map(path), line }
    }
}

/// The beginning of a file.
fn head(path: &Path) -> io::Result<(File, Vec<u8>)> {
    let file = File::open(path)?;
    let mut head = vec![0; HEAD];
    let length = pread(&file, &mut head, 0)?;
    head.truncate(length);
    Ok((file, head))
}

/// Whether a file is a script whose first line ends in a carriage return, as on Windows.
pub(super) fn ends_in_carriage_return(path: &Path) -> bool {
    let Ok((_, head)) = head(path) else { return false };
    let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
    line.starts_with(b"#!") && line.ends_with(b"\r")
}

/// The numbers of a file that was made for machines of our byte order.
struct Numbers<'a> {
    head: &'a [u8],
}

impl Numbers<'_> {
    fn get(&self, offset: u64, size: usize) -> Option<u64> {
        let start = usize::try_from(offset).ok()?;
        let bytes = self.head.get(start..start.checked_add(size)?)?;
        let mut wide = [0; 8];
        let place =
            if cfg!(target_endian = "little") { wide.get_mut(..size) } else { wide.get_mut(8 - size..) };
        place?.copy_from_slice(bytes);
        Some(u64::from_ne_bytes(wide))
    }
}

/// Nothing if the header is not all there or contradicts itself. The offsets are those of elf(5), for 32
/// and for 64 bits.
fn elf(file: &File, head: &[u8]) -> Option<Format> {
    let numbers = Numbers { head };
    let machine = numbers.get(18, 2)?;
    let wide = head.get(4)? == &2;
    let native = head.get(5)? == if cfg!(target_endian = "little") { &1 } else { &2 };
    if !native {
        // Two bytes, the other way round.
        return Some(Format::Elf { loader: None, machine: machine.swap_bytes() >> 48 });
    }
    let [table, size, count] = if wide {
        [numbers.get(32, 8)?, numbers.get(54, 2)?, numbers.get(56, 2)?]
    } else {
        [numbers.get(28, 4)?, numbers.get(42, 2)?, numbers.get(44, 2)?]
    };
    let mut loader = None;
    for entry in (0..count).filter_map(|number| table.checked_add(number.checked_mul(size)?)) {
        if numbers.get(entry, 4) == Some(INTERPRETER) {
            let [place, length] = if wide {
                [numbers.get(entry.checked_add(8)?, 8)?, numbers.get(entry.checked_add(32)?, 8)?]
            } else {
                [numbers.get(entry.checked_add(4)?, 4)?, numbers.get(entry.checked_add(16)?, 4)?]
            };
            loader = string(file, place, length);
        }
    }
    Some(Format::Elf { loader, machine })
}

/// A path that stands in a file, with a NUL at its end.
fn string(file: &File, place: u64, length: u64) -> Option<PathBuf> {
    let mut text = vec![0; usize::try_from(length).ok().filter(|length| *length <= HEAD)?];
    let read = pread(file, &mut text, i64::try_from(place).ok()?).ok()?;
    text.truncate(read);
    Some(path(text.split(|byte| *byte == 0).next()?))
}

fn path(bytes: &[u8]) -> PathBuf {
    OsString::from_vec(bytes.to_vec()).into()
}

#[cfg(test)]
mod tests {
    use super::{super::super::scratch::Scratch, *};

    fn script(interpreter: Option<&str>, line: Line) -> Format {
        Format::Script { interpreter: interpreter.map(PathBuf::from), line }
    }

    #[test]
    fn a_file_is_known_by_its_first_bytes() {
        let scratch = Scratch::new();
        let long = format!("#!/{}\n", "x".repeat(SCRIPT_HEAD));
        let fits = format!("#!/{}\n", "x".repeat(SCRIPT_HEAD - 4));
        let cases = [
            ("", Format::Empty),
            ("#!/bin/sh\nexit 1\n", script(Some("/bin/sh"), Line::Whole)),
            ("#! \t/bin/sh -e\n", script(Some("/bin/sh"), Line::Whole)),
            ("#!/bin/sh\r\nexit 1\r\n", script(Some("/bin/sh\r"), Line::Whole)),
            ("#!/bin/sh", script(Some("/bin/sh"), Line::Whole)),
            ("#!\n/bin/sh\n", script(None, Line::Whole)),
            (&fits, script(Some(fits[2..].trim_end()), Line::Whole)),
            (&long, script(Some(&long[2..SCRIPT_HEAD]), Line::Overlong)),
            ("\u{FEFF}#!/bin/sh\n", Format::Marked),
            ("\u{7F}ELF", Format::Other),
            ("echo hello\n", Format::Other),
        ];
        for (text, format) in cases {
            assert_eq!(Format::of(&scratch.file("file", text, 0o644)).unwrap(), format, "{text}");
        }
        assert!(Format::of(&scratch.join("gone")).is_err());
    }

    #[test]
    fn the_loader_of_a_program_is_found_where_it_says() {
        let this = Format::of(&std::env::current_exe().unwrap()).unwrap();
        let Format::Elf { loader, .. } = this else { panic!("{this:?}") };
        assert!(loader.is_none_or(|loader| loader.exists()), "this very program was loaded by it");
        // One of 32 bits, as small as they come: header, one entry, path.
        let scratch = Scratch::new();
        let mut bytes = vec![0_u8; 84];
        bytes[..6].copy_from_slice(b"\x7FELF\x01\x01");
        bytes[18] = 3;
        bytes[28] = 52;
        bytes[42] = 32;
        bytes[44] = 1;
        bytes[52] = 3;
        bytes[56] = 84;
        bytes[68] = 7;
        bytes.extend(b"/lib/x\0");
        let file = scratch.join("small");
        std::fs::write(&file, bytes).unwrap();
        let found = if cfg!(target_endian = "little") { Some("/lib/x".into()) } else { None };
        assert_eq!(Format::of(&file).unwrap(), Format::Elf { loader: found, machine: 3 });
    }
}
