//! Real shells that complete lines: bash and zsh on a terminal, since they do so for nobody else, and fish.

use crate::{
    harness::{CLIENT, Folder, SUPERVISOR},
    terminal::TERMINAL,
    tools::{err, have, out, python, skip},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

/// A shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl Shell {
    pub(crate) const ALL: [Self; 3] = [Self::Bash, Self::Zsh, Self::Fish];

    fn name(self) -> &'static str {
        match self {
            Self::Bash => "bash",
            Self::Zsh => "zsh",
            Self::Fish => "fish",
        }
    }
}

/// What is offered for a line.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The words, without what is before them in a path and without a sign that another follows.
    pub(crate) words: BTreeSet<String>,
    /// What is shown beside them, or of bash the line that comes of it.
    pub(crate) told: Vec<String>,
}

/// Has bash put all that is possible into the line, and write that down.
const BASH: &str = r#"
set -u
PS1='> ' HISTFILE=
bind 'set bell-style none' 'set enable-bracketed-paste off' 2>/dev/null
bind 'set bell-style none'; bind 'set enable-bracketed-paste off'; bind 'set mark-directories off'
note() { printf 'LINE:%s\nEND\n' "$READLINE_LINE" >>"$FOUND"; echo "noted"; READLINE_LINE= READLINE_POINT=0; }
bind -x '"\C-x\C-f": note'
bind '"\C-x\C-a": insert-completions'
"#;

/// Has zsh write down all that is offered to it.
const ZSH: &str = r#"
autoload -Uz compinit && compinit -D -u
compadd() {
  if [[ ${@[1,(i)(-|--)]} == *-(O|A|D)\ * ]]; then builtin compadd "$@"; return; fi
  local -a hits told
  local -i i
  for (( i = 1; i <= $#; i++ )); do
    [[ ${@[i]} == (-|--) ]] && break
    if [[ ${@[i]} == -d ]]; then told=("${(@P)${@[i+1]}}"); break; fi
  done
  builtin compadd -A hits -D told "$@"
  local hit
  for hit in $hits; do print -r -- "WORD:$hit" >>$FOUND; done
  for hit in $told; do print -r -- "TOLD:$hit" >>$FOUND; done
  builtin compadd "$@"
}
note() { print END >>$FOUND; print noted; BUFFER=; zle reset-prompt }
zle -N note
bindkey '^X^F' note
bindkey '^X^A' complete-word
unsetopt automenu beep
setopt nounset
LISTMAX=10000 PS1='> '
"#;

/// Shells with both scripts, in a folder that the environment leads to.
pub(crate) struct Shells<'a> {
    folder: &'a Folder,
    variables: BTreeMap<String, String>,
}

impl<'a> Shells<'a> {
    pub(crate) fn new(folder: &'a Folder) -> Self {
        let programs = Path::new(CLIENT).parent().expect("a folder").display().to_string();
        let path = env::var("PATH").unwrap_or_default();
        let own = folder.join("bin").display().to_string();
        fs::create_dir_all(folder.join("home")).expect("a folder can be made");
        fs::create_dir_all(folder.join("site")).expect("a folder can be made");
        for shell in Shell::ALL {
            for (program, name) in [(SUPERVISOR, "einhyrningsins"), (CLIENT, "einhyrningsinsctl")] {
                let output = Command::new(program).args(["--completions", shell.name()]).output();
                let output = output.expect("it can be run");
                assert_eq!((output.status.code(), err(&output).as_str()), (Some(0), ""));
                let file = if shell == Shell::Zsh {
                    format!("site/_{name}")
                } else {
                    format!("{name}.{}", shell.name())
                };
                fs::write(folder.join(&file), output.stdout).expect("a file can be written");
            }
        }
        let variables = [
            ("PATH", format!("{own}:{programs}:{path}")),
            ("HOME", folder.join("home").display().to_string()),
            ("FOUND", folder.join("found").display().to_string()),
            ("EINHYR_TEST", "1".to_owned()),
            ("LC_ALL", "C".to_owned()),
            ("TERM", "dumb".to_owned()),
            ("TEST_COLUMNS", "200".to_owned()),
        ];
        Self { folder, variables: variables.map(|(name, value)| (name.to_owned(), value)).into() }
    }

    /// Sets a variable of the shells.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.variables.insert(name.to_owned(), value.to_owned());
    }

    /// What the shell offers for each line; `None` if that cannot be seen here.
    pub(crate) fn complete(&self, shell: Shell, lines: &[&str]) -> Option<Vec<Found>> {
        if !self.is_there(shell) {
            return None;
        }
        let path = |name: &str| self.folder.join(name).display().to_string();
        match shell {
            Shell::Bash => {
                let scripts = ["einhyrningsins.bash", "einhyrningsinsctl.bash"]
                    .map(|name| format!(". '{}'\n", path(name)));
                let begin = format!("{}{BASH}", scripts.concat());
                fs::write(self.folder.join("begin"), begin).expect("a file can be written");
                self.on_a_terminal(&["bash", "--noprofile", "--norc", "-i"], lines)?;
                let found = fs::read_to_string(self.folder.join("found")).expect("it has written");
                Some(found.split("END\n").zip(lines).map(|(found, line)| in_the_line(found, line)).collect())
            }
            Shell::Zsh => {
                let begin = format!("fpath=('{}' $fpath)\n{ZSH}", path("site"));
                fs::write(self.folder.join("begin"), begin).expect("a file can be written");
                self.on_a_terminal(&["zsh", "-f", "-i"], lines)?;
                let found = fs::read_to_string(self.folder.join("found")).expect("it has written");
                Some(found.split("END\n").take(lines.len()).map(written_down).collect())
            }
            Shell::Fish => {
                let sources = ["einhyrningsins.fish", "einhyrningsinsctl.fish"]
                    .map(|name| format!("source '{}'\n", path(name)));
                let asks = lines.iter().map(|line| format!("complete -C '{line}'\necho END\n"));
                let script = sources.concat() + &asks.collect::<String>();
                let output = self
                    .command("fish")
                    .args(["--no-config", "-c", &script])
                    .output()
                    .expect("it can be run");
                assert_eq!(err(&output), "", "{script}");
                Some(out(&output).split("END\n").take(lines.len()).map(in_lines).collect())
            }
        }
    }

    /// What a shell says to the scripts if it takes as much as it can for an error.
    pub(crate) fn load_strictly(&self, shell: Shell) -> Option<String> {
        if !self.is_there(shell) {
            return None;
        }
        let path = |name: &str| self.folder.join(name).display().to_string();
        let read = |names: [&str; 2]| names.map(|name| format!(". '{}'\n", path(name))).concat();
        let (options, script) = match shell {
            Shell::Bash => (
                vec!["--norc", "-euo", "pipefail", "-c"],
                read(["einhyrningsins.bash", "einhyrningsinsctl.bash"]),
            ),
            // Sourced, without and behind compinit.
            Shell::Zsh => {
                let both = read(["site/_einhyrningsins", "site/_einhyrningsinsctl"]);
                let compinit = "autoload -Uz compinit\nsetopt unset\ncompinit -D -u\nsetopt nounset\n";
                let is_known = "[[ ${_comps[einhyrningsinsctl]} == _einhyrningsinsctl ]]\n";
                (vec!["-feu", "-c"], format!("{both}{compinit}{both}{is_known}"))
            }
            Shell::Fish => {
                (vec!["--no-config", "-c"], read(["einhyrningsins.fish", "einhyrningsinsctl.fish"]))
            }
        };
        let output =
            self.command(shell.name()).args(options).arg(script + "echo loaded").output().expect("a shell");
        Some(out(&output) + &err(&output))
    }

    fn is_there(&self, shell: Shell) -> bool {
        let is_there = have(shell.name(), &["-c", "true"]);
        if !is_there {
            skip(&format!("there is no {}", shell.name()));
        }
        is_there
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env_clear().envs(&self.variables).stdin(Stdio::null()).current_dir(self.folder.join("home"));
        command
    }

    /// Types the lines, each with the keys that complete it and have it noted.
    fn on_a_terminal(&self, shell: &[&str], lines: &[&str]) -> Option<()> {
        let python = python().filter(|python| have(python, &["-c", "import pty; pty.openpty()"]));
        let Some(python) = python else {
            skip("there is no python3 to make a terminal with");
            return None;
        };
        let _ = fs::remove_file(self.folder.join("found"));
        let which =
            Command::new("sh").args(["-c", &format!("command -v {}", shell[0])]).output().expect("a shell");
        let mut child = self
            .command(&python)
            .args(["-c", TERMINAL, out(&which).trim()])
            .args(&shell[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("python can be run");
        let mut steps =
            format!("type . {}; echo be''gun\\r\nexpect begun\n", self.folder.join("begin").display());
        for line in lines {
            steps += &format!("type {line}\\x18\\x01\\x18\\x06\nexpect noted\n");
        }
        steps += "type exit\\r\n";
        child.stdin.take().expect("its standard input").write_all(steps.as_bytes()).expect("it reads");
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(err(&output), "", "{}", out(&output));
        for wrong in
            ["unbound variable", "not found", "bad substitution", "syntax error", "parameter not set"]
        {
            assert!(!out(&output).contains(wrong), "{}", out(&output));
        }
        Some(())
    }
}

/// A word as all shells have it: only what comes behind a path, an option's name or a part of a name.
fn bare(word: &str, typed: &str) -> String {
    let word = word.trim_end_matches(['/', '=']);
    let word = word.rsplit(['/', '=']).next().unwrap_or_default();
    // bash has only what is behind a colon.
    let before =
        typed.rsplit([' ', '=']).next().unwrap_or_default().rsplit_once(':').map(|(before, _)| before);
    match before {
        Some(before) if !word.contains(':') => format!("{before}:{word}"),
        _ => word.to_owned(),
    }
}

/// What bash has put into a line.
fn in_the_line(found: &str, typed: &str) -> Found {
    let line = found.trim_start_matches("LINE:").trim_end_matches('\n');
    if line == typed {
        return Found::default();
    }
    let cut = typed.rfind([' ', '=', ':']).map_or(0, |place| place + 1);
    let words = line.get(cut..).unwrap_or_default().split(' ').filter(|word| !word.is_empty());
    Found { words: words.map(|word| bare(word, typed)).collect(), told: vec![line.to_owned()] }
}

/// What zsh has written down.
fn written_down(found: &str) -> Found {
    let lines = |mark: &str| {
        found.lines().filter_map(|line| line.strip_prefix(mark)).map(str::to_owned).collect::<Vec<_>>()
    };
    Found { words: lines("WORD:").iter().map(|word| bare(word, "")).collect(), told: lines("TOLD:") }
}

/// What fish has said: words, and behind a tab what they are.
fn in_lines(found: &str) -> Found {
    let told: Vec<String> = found.lines().map(str::to_owned).collect();
    let words = told.iter().map(|line| bare(line.split('\t').next().unwrap_or_default(), ""));
    Found { words: words.collect(), told }
}
