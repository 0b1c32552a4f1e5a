//! Each way in which a program is not one, made and then explained.

use super::{super::scratch::Scratch, *};
use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
};

/// What is said of a path, with the scratch directory left out of it.
fn of(scratch: &Scratch, said: Option<String>) -> String {
    said.unwrap_or_default().replace(&format!("{}/", scratch.path().display()), "")
}

/// What is said of a file of that name in the scratch directory if it cannot be found.
fn found(scratch: &Scratch, name: &str, errno: Errno) -> String {
    of(scratch, lookup(&scratch.join(name), errno))
}

/// The same if it cannot be executed.
fn executed(scratch: &Scratch, name: &str, errno: Errno) -> String {
    of(scratch, execution(&scratch.join(name), errno))
}

#[test]
fn what_is_not_there_is_told_by_its_first_part_that_is_missing() {
    let scratch = Scratch::new();
    scratch.directory("there");
    symlink("v9", scratch.join("current")).unwrap();
    assert_eq!(found(&scratch, "there/./program", Errno::ENOENT), "there is no there/program");
    assert_eq!(found(&scratch, "gone/bin/program", Errno::ENOENT), "there is no gone");
    for name in ["current", "current/bin/program"] {
        let said = found(&scratch, name, Errno::ENOENT);
        assert_eq!(said, "current is a link to v9, which does not exist", "{name}");
    }
    assert_eq!(of(&scratch, lookup(Path::new("nowhere"), Errno::ENOENT)), "there is no nowhere");
}

#[test]
fn what_may_not_be_executed_is_told_with_what_would_help() {
    let scratch = Scratch::new();
    scratch.directory("folder");
    scratch.file("plain", "text", 0o644);
    symlink("round", scratch.join("round")).unwrap();
    let long = "x".repeat(300);
    for (name, errno, said) in [
        ("plain", Errno::EACCES, "plain is not marked as executable: chmod +x plain"),
        ("folder", Errno::EACCES, "folder is a directory, not a program"),
        ("folder", Errno::EISDIR, "folder is a directory, not a program"),
        ("plain/program", Errno::ENOTDIR, "plain is no directory"),
        ("round", Errno::ELOOP, "the symbolic links of round lead to one another without an end"),
        (
            &long,
            Errno::ENAMETOOLONG,
            "that is longer than a path can be: 4095 bytes, and 255 for each name in it",
        ),
        ("plain", Errno::EIO, ""),
    ] {
        assert_eq!(found(&scratch, name, errno), said);
    }
    assert_eq!(lookup(Path::new("/dev/null"), Errno::EACCES).unwrap(), "/dev/null is no regular file");
    let metadata = scratch.file("private", "", 0o700).metadata().unwrap();
    let said = closed_to_us("private", &metadata);
    assert!(said.contains("may not execute private, which has mode 0700, uid "), "{said}");
}

#[test]
fn a_name_without_a_slash_is_told_how_to_be_typed() {
    let scratch = Scratch::new();
    scratch.file("ok.sh", "#!/bin/sh\n", 0o755);
    let said = search(OsStr::new("ok.sh"), scratch.path());
    assert_eq!(said, "there is ./ok.sh in the working directory, which PATH does not name: ./ok.sh");
    let said = search(OsStr::new("ko.sh"), scratch.path());
    assert_eq!(said, "no directory that PATH names has ko.sh");
}

#[test]
fn a_script_is_told_by_what_its_first_line_asks_for() {
    let scratch = Scratch::new();
    let plain = scratch.file("plain", "text", 0o644).display().to_string();
    let lost = scratch.file("lost", "#!/nowhere/interpreter\n", 0o755).display().to_string();
    let forever = scratch.join("forever").display().to_string();
    for (text, errno, said) in [
        (
            "#!/bin/sh\r\nexit 0\r\n",
            Errno::ENOENT,
            "the first line of script asks for /bin/sh\\r, which has a carriage return at its end: save the \
             script with Unix line ends",
        ),
        (
            "#!/nowhere/sh -e\n",
            Errno::ENOENT,
            "the first line of script asks for /nowhere/sh, and there is no /nowhere",
        ),
        (
            "#!python3\n",
            Errno::ENOENT,
            "the first line of script asks for python3, which is looked up in the working directory, not in \
             PATH: #!/usr/bin/env python3",
        ),
        (
            &format!("#!{lost}\n"),
            Errno::ENOENT,
            "the first line of lost asks for /nowhere/interpreter, and there is no /nowhere",
        ),
        (
            &format!("#!{plain}\n"),
            Errno::EACCES,
            "the first line of script asks for plain, and plain is not marked as executable: chmod +x plain",
        ),
        (
            "#!/tmp\n",
            Errno::EACCES,
            "the first line of script asks for /tmp, and /tmp is a directory, not a program",
        ),
        (
            &format!("#!{forever}\n"),
            Errno::ELOOP,
            "script is a script whose interpreter is a script, and so on, too often",
        ),
    ] {
        scratch.file("forever", &format!("#!{forever}\n"), 0o755);
        scratch.file("script", text, 0o755);
        assert_eq!(executed(&scratch, "script", errno), said, "{text}");
    }
}

#[test]
fn what_no_kernel_knows_is_told_by_what_is_in_it() {
    let scratch = Scratch::new();
    let other = "has no #! line and no format that this kernel runs: a script's first line names its \
                 interpreter, such as #!/bin/sh";
    let long = format!("#!/{}\n", "x".repeat(300));
    for (text, said) in [
        ("echo hello\n", other),
        ("", "is empty"),
        ("#!\n/bin/sh\n", "names no interpreter behind #! in its first line"),
        (&long, "has a first line that is longer than what the kernel reads of it, 255 bytes"),
        ("\u{FEFF}#!/bin/sh\n", "has a byte order mark in front of its #!: save it without (UTF-8, no BOM)"),
    ] {
        scratch.file("file", text, 0o755);
        assert_eq!(executed(&scratch, "file", Errno::ENOEXEC), format!("file {said}"), "{text}");
    }
    let mut program = fs::read(std::env::current_exe().unwrap()).unwrap();
    program[18..20].copy_from_slice(&243_u16.to_ne_bytes());
    fs::write(scratch.join("file"), &program).unwrap();
    let said = executed(&scratch, "file", Errno::ENOEXEC);
    assert_eq!(said, "file is for another kind of machine (riscv), no program, or damaged");
}

#[test]
fn a_program_is_told_by_what_is_to_load_it() {
    let scratch = Scratch::new();
    let this = fs::read(std::env::current_exe().unwrap()).unwrap();
    let Ok(Format::Elf { loader: Some(loader), .. }) = Format::of(&std::env::current_exe().unwrap()) else {
        return eprintln!("skipped, since this is linked statically");
    };
    let (loader, bytes) = (loader.display().to_string(), loader.as_os_str().as_bytes().to_vec());
    let place = this.windows(bytes.len()).position(|window| window == bytes).unwrap();
    let mut other = this;
    other[place..place + 2].copy_from_slice(b"/!");
    fs::write(scratch.join("program"), other).unwrap();
    fs::set_permissions(scratch.join("program"), fs::Permissions::from_mode(0o755)).unwrap();
    let wanted = format!("/!{}", &loader[2..]);
    let missing = wanted.split('/').nth(1).unwrap();
    assert_eq!(
        executed(&scratch, "program", Errno::ENOENT),
        format!("to be loaded, program asks for {wanted}, and there is no /{missing}")
    );
}

#[test]
fn a_directory_is_named_with_what_is_wrong_with_it() {
    let scratch = Scratch::new();
    scratch.file("file", "", 0o644);
    let said = |name: &str, errno| of(&scratch, entry(&scratch.join(name), errno));
    assert_eq!(said("gone/inner", Errno::ENOENT), "workers are to run in gone/inner, and there is no gone");
    assert_eq!(said("file", Errno::ENOTDIR), "workers are to run in file, and file is no directory");
}
