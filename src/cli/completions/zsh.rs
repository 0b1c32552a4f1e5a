//! The script for zsh: to be found in `$fpath` as `_NAME`, or to be sourced behind compinit.

use super::{Command, Flag, Offer, Program, Values, Word, heading, quoted};
use core::fmt::Write as _;

/// The script.
pub(super) fn script(program: &Program) -> String {
    let name = program.name;
    let mut out = format!("#compdef {name}\n") + &heading("zsh", name);
    if program.runs {
        out += MODES;
        specs(&mut out, program, &program.flags, "    ");
        out += "    '(-)1: :FN_first' \\\n    '(-)*:: :FN_program'\n}\n";
    } else {
        client(&mut out, program);
    }
    out += LAST;
    let modal = program.flags.iter().filter(|it| it.is_understanding).flat_map(|it| it.names.clone());
    let modal = modal.collect::<Vec<_>>().join("|");
    out.replace("THE_MODAL", &modal).replace("THE_PROGRAM", name).replace("FN", &program.prefix())
}

fn client(out: &mut String, program: &Program) {
    for (name, is_asked_only) in [("FN_all", false), ("FN_commands", true)] {
        // Writing to a String cannot fail.
        let _ = write!(out, "{name}() {{\n  local -a commands\n  commands=(\n");
        for command in program.commands.iter().filter(|it| it.is_asked || !is_asked_only) {
            let name = command.names.first().map(|name| name.replace(':', "\\:")).unwrap_or_default();
            let _ = writeln!(out, "    {}", quoted(&format!("{name}:{}", command.about)));
        }
        out.push_str("  )\n  _describe -t commands command commands\n}\n\n");
    }
    out.push_str(ASK);
    out.push_str("# What stands behind a command.\nFN_behind() {\n");
    out.push_str("  if [[ $words[1] == -- ]]; then\n    shift words\n    (( CURRENT-- ))\n  fi\n");
    out.push_str("  case $words[1] in\n");
    for command in &program.commands {
        let _ = writeln!(out, "    {})", command.names.join("|"));
        if command.runs {
            out.push_str("      FN_program && return\n");
        }
        out.push_str("      _arguments -s -S \\\n");
        specs(out, program, &command.flags, "        ");
        let own = |flag: &&Flag| {
            !command.flags.iter().any(|it| it.names.iter().any(|name| flag.names.contains(name)))
        };
        program.flags.iter().filter(own).for_each(|flag| spec(out, program, flag, "        "));
        if command.runs {
            out.push_str("        '(-)--[run another program from now on]' \\\n");
        }
        positions(out, program, command);
        out.push_str("        && return\n      ;;\n");
    }
    out.push_str("  esac\n  return 1\n}\n\n");
    out.push_str(MAIN);
    specs(out, program, &program.flags, "    ");
    out.push_str("    '(-)1: :FN_all' \\\n    '(-)*:: :->behind' && ret=0\n");
    out.push_str("  [[ $state == behind ]] && FN_behind && ret=0\n  return ret\n}\n");
}

fn positions(out: &mut String, program: &Program, command: &Command) {
    for (position, word) in command.words.iter().enumerate() {
        let is_last = position + 1 == command.words.len();
        let place = if is_last && command.repeats { "*".to_owned() } else { (position + 1).to_string() };
        let spec = format!("{place}:{}:{}", message(&word.name), action(program, word));
        let _ = writeln!(out, "        {} \\", quoted(&spec));
    }
}

fn specs(out: &mut String, program: &Program, flags: &[Flag], margin: &str) {
    flags.iter().for_each(|flag| spec(out, program, flag, margin));
}

/// An option as _arguments wants it, by each of its names, of which only one is wanted.
fn spec(out: &mut String, program: &Program, flag: &Flag, margin: &str) {
    // Commands are on one side only.
    let alone = flag.value.as_ref().is_some_and(|word| word.values == Values::Command)
        && !program.commands.is_empty();
    let about = flag.about.replace('\\', "\\\\").replace('[', "\\[").replace(']', "\\]");
    let value = match (&flag.value, flag.word) {
        (Some(word), _) => format!(":{}:{}", message(&word.name), action(program, word)),
        (None, Some(word)) => format!("::{word}:({word})"),
        (None, None) => String::new(),
    };
    for name in &flag.names {
        let kind = match (&flag.value, name.starts_with("--")) {
            (None, _) => "",
            (Some(_), true) => "=",
            (Some(_), false) => "+",
        };
        let others = flag.names.iter().map(String::as_str).collect::<Vec<_>>().join(" ");
        let exclusive = match (flag.repeats, alone) {
            (true, true) => "(: *)*".to_owned(),
            (true, false) => "*".to_owned(),
            (false, _) => format!("({others})"),
        };
        let _ = writeln!(out, "{margin}{} \\", quoted(&format!("{exclusive}{name}{kind}[{about}]{value}")));
    }
}

fn message(name: &str) -> String {
    name.replace('\\', "\\\\").replace(':', "\\:")
}

fn action(program: &Program, word: &Word) -> String {
    match &word.values {
        Values::Any => " ".to_owned(),
        Values::Files => "_files".to_owned(),
        Values::Directories => "_files -/".to_owned(),
        Values::Words(words) => format!("({})", words.join(" ")),
        Values::Variable => "_parameters -g \"*export*\"".to_owned(),
        Values::Assignment => "_parameters -g \"*export*\" -qS=".to_owned(),
        Values::Command if program.commands.is_empty() => " ".to_owned(),
        Values::Command => "FN_commands".to_owned(),
        Values::Program => "_command_names -e".to_owned(),
        Values::Asked(Offer::Pids) => format!(" FN_ask {}", super::PIDS),
        Values::Asked(Offer::Generations) => format!(" FN_ask {}", super::GENERATIONS),
    }
}

/// What only a supervisor knows.
const ASK: &str = r#"# A word without its quotes, and with the variable or home directory that it begins with. Nothing is run.
FN_plain() {
  setopt localoptions extendedglob
  local -a match mbegin mend
  REPLY=${(Q)1}
  if [[ $1 == \'* ]]; then
    return
  elif [[ $REPLY == (#b)\$([A-Za-z_][A-Za-z0-9_]#)(*) || $REPLY == (#b)\$\{([A-Za-z_][A-Za-z0-9_]#)\}(*) ]]; then
    REPLY=${(P)match[1]}$match[2]
  elif [[ $1 == '~/'* ]]; then
    REPLY=$HOME/${REPLY#\~/}
  fi
}

# Asks the supervisor that the line is about, in silence.
FN_ask() {
  local -a lines entries given
  local line
  lines=("${(@f)$(command -- $program $at --complete $1 2>/dev/null </dev/null)}")
  given=(${words[1,CURRENT-1]})
  for line in $lines; do
    [[ -z $line ]] && continue
    (( ${given[(Ie)${line%%$'\t'*}]} )) && continue
    entries+=("${line/$'\t'/:}")
  done
  (( $#entries )) && _describe -V -t $1 $1 entries
}

# Completes the command line of a program that stands behind `--`, if one does.
FN_program() {
  local -i place=${words[(ie)--]}
  (( place < CURRENT )) || return 1
  shift $place words
  (( CURRENT -= place ))
  _normal
  return 0
}

"#;

const MODES: &str = r#"# Completes PROGRAM and what is behind it.
FN_program() {
  if [[ $words[1] == -- ]]; then
    shift words
    (( CURRENT-- ))
  fi
  _normal
}

# Completes PROGRAM, or the file that has options.
FN_first() {
  if compset -P 1 @; then
    _files
  else
    _command_names -e
  fi
}

FN() {
  local curcontext=$curcontext
  local -i place=2
  # What einhorn has behind an option is the option's, and a file with options is no program either.
  while (( place < CURRENT )); do
    [[ $words[place] == -- ]] && break
    if [[ $words[place] == @?* || $words[place-1] == (THE_MODAL) && $words[place] == (manual|[0-9]*) ]]; then
      words[place]=()
      (( CURRENT-- ))
    else
      (( place++ ))
    fi
  done
  _arguments -s -S -A '-*' \
"#;

const MAIN: &str = r#"FN() {
  local curcontext=$curcontext state state_descr line context program REPLY
  local -i ret=1 place
  local -a at
  typeset -A opt_args
  FN_plain $words[1]
  program=$REPLY
  whence -p -- $program >/dev/null || program=THE_PROGRAM
  for (( place = 2; place <= $#words; place++ )); do
    (( place == CURRENT )) && continue
    case $words[place] in
      --any-owner) at+=(--any-owner) ;;
      --socket-path=*) FN_plain "${words[place]#*=}"; at+=(-d "$REPLY") ;;
      -d|--socket-path) FN_plain "${words[place+1]-}"; at+=(-d "$REPLY") ;;
      -d*) FN_plain "${${words[place]#-d}#=}"; at+=(-d "$REPLY") ;;
      --) break ;;
    esac
  done
  _arguments -s -S -C \
"#;

/// What makes the script one that can be found in `$fpath` and one that can be sourced.
const LAST: &str = r#"
if [[ ${funcstack[1]-} == FN ]]; then
  FN "$@"
elif (( $+functions[compdef] )); then
  compdef FN THE_PROGRAM
fi
"#;
