//! The script for fish.

use super::{Flag, Offer, Program, Values, Word, heading, quoted};
use core::fmt::Write as _;

/// The script.
pub(super) fn script(program: &Program) -> String {
    let name = program.name;
    let mut out = heading("fish", name);
    takers(&mut out, program);
    out += COMMON;
    out += if program.runs { SUPERVISOR } else { CLIENT };
    for flag in &program.flags {
        flag_line(&mut out, "FN_is_own", flag);
        if let Some(word) = flag.word {
            let name = flag.names.last().map(String::as_str).unwrap_or_default();
            // Writing to a String cannot fail.
            let _ = writeln!(out, "complete -c THE_PROGRAM -f -n 'FN_follows {name}' -a {word}");
        }
    }
    for command in &program.commands {
        let names = command.names.join(" ");
        if let Some(first) = command.names.first() {
            let about = quoted(&command.about);
            let _ = writeln!(out, "complete -c THE_PROGRAM -f -n FN_is_bare -a {first} -d {about}");
        }
        let is_this = format!("FN_is_behind {names}");
        command.flags.iter().for_each(|flag| flag_line(&mut out, &is_this, flag));
        if command.runs {
            let run = "-a '(FN_program)'";
            let _ = writeln!(out, "complete -c THE_PROGRAM -f -n 'FN_runs {names}' {run}");
        }
        for (position, word) in command.words.iter().enumerate() {
            let last = position + 1 == command.words.len() && command.repeats;
            let place = if last { format!("{}-", position + 1) } else { (position + 1).to_string() };
            if let Some(offered) = offered(word) {
                let _ = writeln!(out, "complete -c THE_PROGRAM -n 'FN_is_word {place} {names}' {offered}");
            }
        }
    }
    let followed = program.flags.iter().filter(|it| it.word.is_some()).flat_map(|it| it.names.clone());
    out.replace("THE_FILES", if program.runs { "'@?*'" } else { "" })
        .replace("THE_MODES", &modes(program))
        .replace("THE_FOLLOWED", &followed.collect::<Vec<_>>().join(" "))
        .replace("THE_COMMANDS", &program.commands(|it| it.is_asked))
        .replace("THE_PROGRAM", name)
        .replace("FN", &format!("_{}", program.prefix()))
}

/// What einhorn has behind an option, by that option.
fn modes(program: &Program) -> String {
    let names = program.flags.iter().filter(|it| it.is_understanding).flat_map(|it| &it.names);
    names.map(String::as_str).collect::<Vec<_>>().join(" ")
}

/// Which options take a value, behind which command.
fn takers(out: &mut String, program: &Program) {
    out.push_str("# Whether an option takes the next word, of the command line or behind a command.\n");
    out.push_str("function FN_takes\n    switch \"$argv[1] $argv[2]\"\n");
    for (command, flag) in program.all_flags().filter(|(_, flag)| flag.value.is_some()) {
        let commands = command.map_or_else(|| vec!["*".to_owned()], |it| it.names.clone());
        let names =
            commands.iter().flat_map(|it| flag.names.iter().map(move |name| format!("'{it} {name}'")));
        let _ = writeln!(out, "        case {}\n            return 0", names.collect::<Vec<_>>().join(" "));
    }
    out.push_str("    end\n    return 1\nend\n\n");
}

fn flag_line(out: &mut String, condition: &str, flag: &Flag) {
    let mut names = String::new();
    for name in &flag.names {
        let _ = match name.strip_prefix("--") {
            Some(long) => write!(names, " -l {long}"),
            None => write!(names, " -s {}", name.trim_start_matches('-')),
        };
    }
    let value = match &flag.value {
        Some(word) => format!(" -r {}", offered(word).unwrap_or_else(|| "-f".to_owned())),
        None => " -f".to_owned(),
    };
    let about = quoted(&flag.about);
    let _ = writeln!(out, "complete -c THE_PROGRAM -n {}{names}{value} -d {about}", quoted(condition));
}

/// What can be typed, if anybody knows.
fn offered(word: &Word) -> Option<String> {
    Some(match &word.values {
        Values::Any => return None,
        Values::Files => "-F".to_owned(),
        Values::Directories => "-f -a '(__fish_complete_directories)'".to_owned(),
        Values::Words(words) => format!("-f -a '{}'", words.join(" ")),
        Values::Variable => "-f -a '(set -nx)'".to_owned(),
        Values::Assignment => "-f -a '(set -nx)='".to_owned(),
        Values::Command => "-f -a 'THE_COMMANDS'".to_owned(),
        Values::Program => "-f -a '(__fish_complete_command)'".to_owned(),
        Values::Asked(Offer::Pids) => format!("-f -k -a '(FN_ask {})'", super::PIDS),
        Values::Asked(Offer::Generations) => format!("-f -k -a '(FN_ask {})'", super::GENERATIONS),
    })
}

const COMMON: &str = r#"# Where words begin that are no options, of the words up to the cursor: a number, or nothing if they all are.
function FN_first
    set -l words (commandline -opc)
    set -l place 2
    while test $place -le (count $words)
        set -l word $words[$place]
        switch $word
            case --
                echo (math $place + 1)
                return 0
            case '--*=*' THE_FILES
            case '--*'
                FN_takes '' $word; and set place (math $place + 1)
            case '-?*'
                # Of letters in one word, one that takes a value has what is behind it.
                for letter in (string split '' -- (string sub -s 2 -- $word))
                    set word (string sub -s 2 -- $word)
                    if FN_takes '' -$letter
                        test (string length -- $word) -eq 1; and set place (math $place + 1)
                        break
                    end
                end
            case '*'
                if not FN_is_mode $words[(math $place - 1)] $word
                    echo $place
                    return 0
                end
        end
        set place (math $place + 1)
    end
    return 1
end

# Whether that is a word that einhorn has behind an option.
function FN_is_mode
    contains -- $argv[1] THE_MODES; and string match -qr '^(manual|[0-9].*)$' -- $argv[2]
end

# Completes the words from that place on as a command line of their own.
function FN_delegate
    set -l words (commandline -opc)
    set -l begin (string escape -- $words[$argv[1]..-1] | string join ' ')
    test $argv[1] -gt (count $words); and set begin
    complete -C (string join ' ' -- $begin (commandline -ct))
end

complete -c THE_PROGRAM -e
complete -c THE_PROGRAM -f
"#;

const SUPERVISOR: &str = r#"
# Whether the cursor is at what is the supervisor's.
function FN_is_own
    not FN_first >/dev/null
end

# Completes PROGRAM and what is behind it.
function FN_program
    set -l first (FN_first); or set first (math (count (commandline -opc)) + 1)
    FN_delegate $first
end

complete -c THE_PROGRAM -f -n 'FN_first >/dev/null; or not string match -qr -- "^[-@]" (commandline -ct)' -a '(FN_program)'

# A file that has options.
function FN_files
    set -l typed (string sub -s 2 -- (commandline -ct))
    string replace -r -- '^' @ (complete -C "THE_PROGRAM-file $typed")
end

complete -c THE_PROGRAM -f -n 'FN_is_own; and string match -q -- "@*" (commandline -ct)' -a '(FN_files)'
"#;

const CLIENT: &str = r#"
# The command, if there is one, and what is behind it but for options and their values.
function FN_words
    set -l words (commandline -opc)
    set -l place (FN_first); or return 1
    test $place -le (count $words); or return 1
    set -l command $words[$place]
    echo $command
    set place (math $place + 1)
    while test $place -le (count $words)
        set -l word $words[$place]
        switch $word
            case --
                set place (math $place + 1)
                printf '%s\n' -- $words[$place..-1]
                return 0
            case '--*=*'
            case '-*'
                if FN_takes $command $word; or FN_takes '' $word
                    set place (math $place + 1)
                end
            case '*'
                echo $word
        end
        set place (math $place + 1)
    end
    return 0
end

# Whether options of the client may stand here.
function FN_is_own
    not contains -- -- (commandline -opc)[2..-1]
end

# Whether a command may.
function FN_is_bare
    not FN_words >/dev/null; and not contains -- (commandline -opc)[-1] THE_FOLLOWED; and not string match -qr -- '^(-e.*|--execute(=.*)?)$' (commandline -opc)
end

# Whether the word before is that option.
function FN_follows
    test (commandline -opc)[-1] = $argv[1]
end

# Whether the cursor is behind one of these commands, where its options may stand.
function FN_is_behind
    set -l words (FN_words); and contains -- $words[1] $argv; and not contains -- -- $words
end

# Whether it is at that word of one of these commands: the first, or one from there on.
function FN_is_word
    set -l words (FN_words); or return 1
    contains -- $words[1] $argv[2..-1]; or return 1
    string match -q -- '-*' (commandline -ct); and return 1
    set -l place (string replace -- - '' $argv[1])
    test (count $words) -eq $place; and return 0
    test $place != $argv[1]; and test (count $words) -ge $place
end

# Whether it is at a program that one of these commands is to run.
function FN_runs
    set -l words (FN_words); and contains -- $words[1] $argv; and contains -- -- $words
end

function FN_program
    FN_delegate (math (contains -i -- -- (commandline -opc)) + 1)
end

# A word with the variable or home directory that it begins with. Nothing is run.
function FN_plain
    set -l found (string match -r -- '^\$\{?([A-Za-z_][A-Za-z0-9_]*)\}?(.*)$' $argv[1])
    if test (count $found) -eq 3
        set -l name $found[2]
        echo -- "$$name$found[3]"
    else
        string replace -r -- '^~(?=/|$)' "$HOME" $argv[1]
    end
end

# Asks the supervisor that the line is about, in silence.
function FN_ask
    set -l words (commandline -opc)
    set -l at
    set -l place 2
    while test $place -le (count $words)
        switch $words[$place]
            case --any-owner
                set at $at --any-owner
            case -d --socket-path
                set place (math $place + 1)
                test $place -le (count $words); and set at $at -d (FN_plain $words[$place])
            case '--socket-path=*'
                set at $at -d (FN_plain (string replace -- --socket-path= '' $words[$place]))
            case '-d*'
                set at $at -d (FN_plain (string replace -r -- '^-d=?' '' $words[$place]))
            case --
                break
        end
        set place (math $place + 1)
    end
    set -l program (FN_plain $words[1])
    command -q -- $program; or set program THE_PROGRAM
    for line in (command $program $at --complete $argv[1] 2>/dev/null </dev/null)
        contains -- (string split -- \t $line)[1] $words[2..-1]; or echo $line
    end
end

"#;
