//! Why a program cannot be found or executed, and what can be done about it, for people.
//!
//! The kernel has one number for a script without its interpreter, for a link that leads nowhere and for a
//! name that is mistyped. Here the file system is asked what it was, once the number is known: only then,
//! and only for the words. Nothing is decided by it, and it may have changed meanwhile.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "most errors and most formats explain themselves, or nothing"
)]

mod format;

use crate::protocol::visible::visible;
use format::{Format, Line};
use nix::{
    errno::Errno,
    sys::statvfs::{FsFlags, statvfs},
    unistd::{AccessFlags, eaccess, geteuid},
};
use std::{
    ffi::OsStr,
    fs::Metadata,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Component, Path, PathBuf},
};

/// How many scripts may be one another's interpreters; the kernel gives up at 5.
const DEPTH: usize = 5;

/// A file that cannot be found, or not be executed as far as its permissions tell.
pub(crate) fn lookup(path: &Path, errno: Errno) -> Option<String> {
    let path = &plain(path);
    let name = shown(path);
    match errno {
        Errno::ENOENT => Some(missing(path)),
        Errno::ENOTDIR => {
            let file = path.ancestors().skip(1).find(|path| path.metadata().is_ok_and(|it| !it.is_dir()))?;
            Some(format!("{} is no directory", shown(file)))
        }
        Errno::EISDIR => Some(format!("{name} is a directory, not a program")),
        Errno::EACCES => Some(forbidden(path)),
        Errno::ELOOP => Some(format!("the symbolic links of {name} lead to one another without an end")),
        Errno::ENAMETOOLONG => {
            Some("that is longer than a path can be: 4095 bytes, and 255 for each name in it".into())
        }
        _ => None,
    }
}

/// A name that no directory of `PATH` has.
pub(crate) fn search(command: &OsStr, base: &Path) -> String {
    let name = shown(Path::new(command));
    if base.join(command).is_file() {
        format!("there is ./{name} in the working directory, which PATH does not name: ./{name}")
    } else {
        format!("no directory that PATH names has {name}")
    }
}

/// A directory that workers are to run in.
pub(crate) fn entry(directory: &Path, errno: Errno) -> Option<String> {
    let name = shown(directory);
    let what = match errno {
        Errno::ENOENT if directory.as_os_str().is_empty() => "it has no name".into(),
        Errno::ENOTDIR if directory.exists() => format!("{name} is no directory"),
        Errno::EACCES if directory.is_dir() => format!("uid {} may not enter {name}", geteuid()),
        _ => lookup(directory, errno)?,
    };
    Some(format!("workers are to run in {name}, and {what}"))
}

/// A program that was found and could not be executed.
pub(crate) fn execution(path: &Path, errno: Errno) -> Option<String> {
    let name = shown(path);
    match errno {
        Errno::ENOENT | Errno::ENOTDIR | Errno::EACCES | Errno::ELOOP | Errno::ENAMETOOLONG => {
            chain(path).map(|(_, why)| why)
        }
        Errno::ENOEXEC => Some(format!("{name} {}", unknown(path))),
        Errno::E2BIG => Some(
            "the arguments and the environment together are more than the kernel hands over: a quarter of the \
             limit for the stack, and 128 KiB for each"
                .into(),
        ),
        Errno::ELIBBAD => Some(format!("what loads {name} is damaged, or made for another kind of machine")),
        Errno::ETXTBSY => Some(format!(
            "{name} is being written to: write to another file, and rename it to this name when it is complete"
        )),
        Errno::EPERM => Some(format!("the system's rules, or those that {name} is marked with, forbid it")),
        _ => None,
    }
}

/// What would keep a program from being executed that may be, by its first bytes and those of its interpreters.
pub(crate) fn foreseen(path: &Path) -> Option<(Errno, String)> {
    let is_none = match Format::of(path).ok()? {
        Format::Empty | Format::Marked | Format::Script { interpreter: None, .. } => true,
        Format::Other => !knows_others(),
        Format::Script { .. } | Format::Elf { .. } => false,
    };
    if is_none {
        return Some((Errno::ENOEXEC, format!("{} {}", shown(path), unknown(path))));
    }
    chain(path)
}

/// Whether the kernel was told of formats beside its own, or may have been.
fn knows_others() -> bool {
    let own = ["register", "status"].map(OsStr::new);
    let formats = Path::new("/proc/sys/fs/binfmt_misc").read_dir();
    formats.is_ok_and(|all| all.flatten().any(|format| !own.contains(&format.file_name().as_os_str())))
}

/// A program that could be executed and has ended with an error: its interpreter may have been misled.
pub(crate) fn ended(path: &Path) -> Option<String> {
    format::ends_in_carriage_return(path).then(|| {
        let name = shown(path);
        format!("the first line of {name} ends in a carriage return, which its interpreter takes for a part of it: \
                 save the script with Unix line ends")
    })
}

/// What is wrong with the first file of a chain, of a program and its interpreters, that is not as it
/// should be, and what the kernel says to that.
fn chain(path: &Path) -> Option<(Errno, String)> {
    if let Some(errno) = refusal(path) {
        return Some((errno, lookup(path, errno)?));
    }
    let mut file = path.to_path_buf();
    for _ in 0..DEPTH {
        let (asked, next) = match Format::of(&file).ok()? {
            Format::Script { interpreter: Some(next), .. } => ("the first line of", next),
            Format::Elf { loader: Some(next), .. } => ("to be loaded,", next),
            _ => return None,
        };
        let (who, wanted) = (shown(&file), shown(&next));
        if let Some(errno) = refusal(&next) {
            let why = if next.as_os_str().as_bytes().ends_with(b"\r") {
                "which has a carriage return at its end: save the script with Unix line ends".into()
            } else if next.is_relative() {
                format!("which is looked up in the working directory, not in PATH: #!/usr/bin/env {wanted}")
            } else {
                format!("and {}", lookup(&next, errno)?)
            };
            return Some((errno, format!("{asked} {who} asks for {wanted}, {why}")));
        }
        file = next;
    }
    let why = format!("{} is a script whose interpreter is a script, and so on, too often", shown(path));
    Some((Errno::ELOOP, why))
}

/// What the kernel would say to a path, by its permissions.
fn refusal(path: &Path) -> Option<Errno> {
    let metadata = match path.metadata() {
        Ok(metadata) => metadata,
        Err(error) => return error.raw_os_error().map(Errno::from_raw),
    };
    if !metadata.is_file() {
        return Some(if metadata.is_dir() { Errno::EISDIR } else { Errno::EACCES });
    }
    eaccess(path, AccessFlags::X_OK).err()
}

/// What a file is that the kernel does not know how to run.
fn unknown(path: &Path) -> String {
    match Format::of(path) {
        Ok(Format::Empty) => "is empty".into(),
        Ok(Format::Script { line: Line::Overlong, .. }) => {
            "has a first line that is longer than what the kernel reads of it, 255 bytes".into()
        }
        Ok(Format::Script { interpreter: None, .. }) => {
            "names no interpreter behind #! in its first line".into()
        }
        Ok(Format::Marked) => {
            "has a byte order mark in front of its #!: save it without (UTF-8, no BOM)".into()
        }
        Ok(Format::Elf { machine, .. }) => {
            format!("is for another kind of machine ({}), no program, or damaged", kind_of(machine))
        }
        Ok(Format::Script { .. } | Format::Other) | Err(_) => {
            "has no #! line and no format that this kernel \
                                                               runs: a script's first line names its \
                                                               interpreter, such as #!/bin/sh"
                .into()
        }
    }
}

/// The machines that people have, as elf(5) numbers them.
fn kind_of(machine: u64) -> String {
    let name = match machine {
        3 => "i386",
        8 => "mips",
        20 => "powerpc",
        21 => "powerpc64",
        22 => "s390x",
        40 => "arm",
        62 => "x86_64",
        183 => "aarch64",
        243 => "riscv",
        258 => "loongarch",
        _ => return format!("number {machine} in ELF"),
    };
    name.into()
}

/// The first of the directories and the file on a path that is not there.
fn missing(path: &Path) -> String {
    let there = |path: &Path| path.as_os_str().is_empty() || path.metadata().is_ok();
    let first = path.ancestors().take_while(|path| !there(path)).last().unwrap_or(path);
    match first.read_link() {
        Ok(target) => format!("{} is a link to {}, which does not exist", shown(first), shown(&target)),
        Err(_) => format!("there is no {}", shown(first)),
    }
}

/// What keeps us from executing what is there.
fn forbidden(path: &Path) -> String {
    let (name, user) = (shown(path), geteuid());
    let closed = |path: &&Path| path.is_dir() && eaccess(*path, AccessFlags::X_OK) == Err(Errno::EACCES);
    if let Some(directory) = path.ancestors().skip(1).filter(closed).last() {
        return format!("uid {user} may not enter {}", shown(directory));
    }
    let Ok(metadata) = path.metadata() else {
        return format!("uid {user} may not look for {name}");
    };
    match metadata {
        metadata if metadata.is_dir() => format!("{name} is a directory, not a program"),
        metadata if !metadata.is_file() => format!("{name} is no regular file"),
        metadata if metadata.mode() & 0o111 == 0 => {
            format!("{name} is not marked as executable: chmod +x {name}")
        }
        _ if statvfs(path).is_ok_and(|fs| fs.flags().contains(FsFlags::ST_NOEXEC)) => {
            format!("{name} is on a file system from which nothing may be executed (mounted with noexec)")
        }
        metadata => closed_to_us(&name, &metadata),
    }
}

fn closed_to_us(name: &str, metadata: &Metadata) -> String {
    format!(
        "uid {} may not execute {name}, which has mode {:04o}, uid {} and gid {}",
        geteuid(),
        metadata.mode() & 0o7777,
        metadata.uid(),
        metadata.gid()
    )
}

/// Without the `.` that joining leaves behind.
fn plain(path: &Path) -> PathBuf {
    path.components().filter(|component| *component != Component::CurDir).collect()
}

/// A path as it is typed, fit for a terminal.
fn shown(path: &Path) -> String {
    visible(&path.to_string_lossy())
}

#[cfg(test)]
mod tests;
