//! Manual pages as those who read them see them, and as those who check pages do.

use crate::{
    harness::{CLIENT, Folder, SUPERVISOR},
    readme::blocks,
    tools::{err, have, out, skip},
};
use einhyrningsins::{
    cli::{client, daemon},
    protocol::command::COMMANDS,
};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// A page: what prints it, and the name of its file.
const PAGES: [(&str, &[&str], &str); 3] = [
    (SUPERVISOR, &["--man"], "einhyrningsins.1"),
    (CLIENT, &["--man"], "einhyrningsinsctl.1"),
    (CLIENT, &["--man", "protocol"], "einhyrningsins-protocol.7"),
];

/// All pages, in a folder.
fn pages() -> (Folder, [PathBuf; 3]) {
    let folder = Folder::new();
    let paths = PAGES.map(|(program, args, name)| {
        let output = Command::new(program).args(args).output().expect("it can be run");
        assert_eq!((output.status.code(), err(&output).as_str()), (Some(0), ""), "{name}");
        let path = folder.join(name);
        fs::write(&path, output.stdout).expect("a file can be written");
        path
    });
    (folder, paths)
}

fn run(words: &[&str], page: &Path) -> Output {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).arg(page).env("LC_ALL", "C.UTF-8").env("MANWIDTH", "200");
    command.env("MANROFFOPT", "-rHY=0").output().expect("it can be run")
}

/// A page as it is read, each run of blanks as one.
fn read(page: &Path) -> String {
    let output = run(&["man", "-P", "cat", "--nh", "--nj", "-l"], page);
    assert!(output.status.success(), "{}", err(&output));
    out(&output).split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn nobody_who_checks_pages_has_anything_to_say() {
    let (_folder, pages) = pages();
    for check in [
        &["man", "--warnings", "-P", "cat", "-l"][..],
        &["groff", "-man", "-ww", "-z"],
        &["mandoc", "-T", "lint", "-W", "style"],
    ] {
        if !have("sh", &["-c", &format!("command -v {}", check[0])]) {
            skip(&format!("there is no {}", check[0]));
            continue;
        }
        for page in &pages {
            let output = run(check, page);
            // man shows the page, too.
            let said = if check[0] == "man" { err(&output) } else { out(&output) + &err(&output) };
            assert_eq!((output.status.code(), said.as_str()), (Some(0), ""), "{check:?} {}", page.display());
        }
    }
}

#[test]
fn pages_have_their_sections_in_the_usual_order() {
    let (_folder, pages) = pages();
    for (page, expected) in pages.iter().zip([
        &["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "ENVIRONMENT", "FILES", "SIGNALS"][..],
        &["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "COMMANDS", "EXIT STATUS", "ENVIRONMENT", "FILES"],
        &[
            "NAME",
            "DESCRIPTION",
            "ENVIRONMENT",
            "SIGNALS",
            "MESSAGES",
            "COMMANDS",
            "NOTIFICATIONS",
            "GUARANTEES",
        ],
    ]) {
        let text = fs::read_to_string(page).expect("a page");
        let sections: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix(".SH ")).collect();
        assert_eq!(sections[..expected.len()], *expected, "{}", page.display());
        assert!(sections.ends_with(&["EXAMPLES", "SEE ALSO"]), "{sections:?}");
    }
}

#[test]
fn what_is_read_is_what_the_tables_say_to_the_letter() {
    if !have("man", &["--version"]) {
        return skip("there is no man");
    }
    let (_folder, pages) = pages();
    let [supervisor, client, protocol] = pages.map(|page| read(&page));
    let check = |page: &str, text: &str| {
        let text = text.replace('`', "").split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(page.contains(&text), "{text} is not in:\n{page}");
    };
    for option in daemon::COMMAND_LINE.options().filter(|option| !option.hidden) {
        let value = option.value.map(|value| format!(" {value}")).unwrap_or_default();
        check(&supervisor, &format!("--{}{value} {}", option.long, option.help));
    }
    for option in client::COMMAND_LINE.options().filter(|option| !option.hidden) {
        check(&client, option.help);
    }
    for entry in COMMANDS {
        check(&client, &entry.synopsis());
        check(&protocol, &entry.synopsis());
    }
    // Quotes, backslashes and dashes that people copy.
    check(&protocol, r#"printf '{"command":"worker:ack","pid":%d}\n' $$ >&"$EINHORN_SOCK_FD""#);
    check(&protocol, "number of workers: 2 → 3");
    check(&client, "einhyrningsinsctl -e 'set_workers 8; upgrade'");
    check(&supervisor, "uvicorn --fd {fd:web} app:app");
    check(&supervisor, "/proc/sys/kernel/yama/ptrace_scope");
    for page in [&supervisor, &client, &protocol] {
        for left in ["\\-", "\\(", "\\f", "\\e", "`"] {
            assert!(!page.contains(left), "{left} in:\n{page}");
        }
    }
}

#[test]
fn a_page_is_found_by_its_name() {
    if !have("lexgrog", &["--version"]) {
        return skip("there is no lexgrog");
    }
    let (_folder, pages) = pages();
    for (page, (_, _, name)) in pages.iter().zip(PAGES) {
        let said = out(&run(&["lexgrog"], page));
        let name = name.rsplit_once('.').expect("a section").0;
        assert!(said.contains(&format!("\"{name} - ")), "{said}");
    }
}

#[test]
fn what_the_readme_says_installs_pages_and_scripts() {
    let script = blocks("The control client", "sh");
    let script = script.iter().find(|block| block.contains("--man protocol")).expect("it says how");
    let folder = Folder::new();
    let root = folder.join("").display().to_string();
    let script =
        script.replace("/usr/local/", &format!("{root}usr/")).replace("/etc/", &format!("{root}etc/"));
    let bin = Path::new(SUPERVISOR).parent().expect("a folder").display().to_string();
    let path = format!("{bin}:{}", env::var("PATH").unwrap_or_default());
    let output = Command::new("sh").args(["-euc", &script]).env("PATH", path).output().expect("a shell");
    assert_eq!((output.status.code(), err(&output).as_str()), (Some(0), ""));
    for file in [
        "usr/share/man/man1/einhyrningsins.1",
        "usr/share/man/man1/einhyrningsinsctl.1",
        "usr/share/man/man7/einhyrningsins-protocol.7",
        "etc/bash_completion.d/einhyrningsins",
        "etc/bash_completion.d/einhyrningsinsctl",
        "usr/share/zsh/site-functions/_einhyrningsins",
        "usr/share/zsh/site-functions/_einhyrningsinsctl",
        "etc/fish/completions/einhyrningsins.fish",
        "etc/fish/completions/einhyrningsinsctl.fish",
    ] {
        assert!(fs::metadata(folder.join(file)).is_ok_and(|file| file.len() > 1_000), "{file}");
    }
}
