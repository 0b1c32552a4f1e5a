//! The script for bash, 4.0 or later. It needs nothing but bash; where the package bash-completion is loaded, that
//! completes what stands behind PROGRAM.

use super::{Flag, Offer, Program, Values, Word, heading, quoted};
use core::fmt::Write as _;

/// The script.
pub(super) fn script(program: &Program) -> String {
    let name = program.name;
    let mut out = heading("bash", name);
    lists(&mut out, program);
    values(&mut out, program);
    words(&mut out, program);
    let engine =
        [WALK, OFFER, if program.runs || program.commands.iter().any(|it| it.runs) { PROGRAM } else { "" }];
    for part in engine {
        out += part;
    }
    out += if program.runs { MAIN_OF_SUPERVISOR } else { MAIN_OF_CLIENT };
    out += "\ncomplete -F FN THE_PROGRAM\n";
    out.replace("THE_MODES", &modes(program)).replace("THE_PROGRAM", name).replace("FN", &program.prefix())
}

/// What can be typed, as this script calls it.
fn kind(values: &Values) -> String {
    match values {
        Values::Any => "any".to_owned(),
        Values::Files => "files".to_owned(),
        Values::Directories => "directories".to_owned(),
        Values::Words(words) => format!("words {}", words.join(" ")),
        Values::Variable => "variables".to_owned(),
        Values::Assignment => "assignments".to_owned(),
        Values::Command => "commands".to_owned(),
        Values::Program => "program".to_owned(),
        Values::Asked(Offer::Pids) => format!("ask {}", super::PIDS),
        Values::Asked(Offer::Generations) => format!("ask {}", super::GENERATIONS),
    }
}

/// What einhorn has behind an option, with that option.
fn modes(program: &Program) -> String {
    let names = program.flags.iter().filter(|it| it.is_understanding).flat_map(|it| &it.names);
    let patterns = names.map(|name| format!("'{name} manual' | '{name} '[0-9]*")).collect::<Vec<_>>();
    if patterns.is_empty() { "''".to_owned() } else { patterns.join(" | ") }
}

/// Options and commands by their names.
fn lists(out: &mut String, program: &Program) {
    let names = |flags: &[Flag]| flags.iter().flat_map(|it| it.names.clone()).collect::<Vec<_>>().join(" ");
    // Writing to a String cannot fail.
    let _ =
        write!(out, "# Options behind a command; without one, those of the command line.\nFN_options() {{\n");
    let _ = write!(out, "    case $1 in\n    '') reply='{}' ;;\n", names(&program.flags));
    for command in program.commands.iter().filter(|it| !it.flags.is_empty() || it.runs) {
        let behind = if command.runs { " --" } else { "" };
        let own = names(&command.flags) + behind;
        let _ = writeln!(out, "    {}) reply='{}' ;;", command.names.join(" | "), own.trim());
    }
    out.push_str("    *) reply= ;;\n    esac\n}\n\n");
    if !program.commands.is_empty() {
        let _ = writeln!(out, "FN_all='{}'", program.commands(|_| true));
        let _ = write!(out, "FN_commands='{}'\n\n", program.commands(|it| it.is_asked));
        let runs = program.commands.iter().filter(|it| it.runs).flat_map(|it| it.names.clone());
        let runs = runs.collect::<Vec<_>>().join(" | ");
        out.push_str("# Whether what follows `--` behind a command is the command line of a program.\n");
        let _ =
            write!(out, "FN_runs() {{\n    case $1 in\n    {runs}) ;;\n    *) return 1 ;;\n    esac\n}}\n\n");
    }
}

/// What the value of each option can be.
fn values(out: &mut String, program: &Program) {
    out.push_str(
        "# What the value of an option behind a command can be; fails if it takes none.\nFN_value() {\n",
    );
    out.push_str("    case \"$1 $2\" in\n");
    let mut flag_of = |command: &[String], flag: &Flag| {
        let Some(value) = &flag.value else { return };
        let commands = if command.is_empty() { vec![String::new()] } else { command.to_vec() };
        let patterns = commands
            .iter()
            .flat_map(|command| flag.names.iter().map(move |name| format!("'{command} {name}'")));
        let patterns = patterns.collect::<Vec<_>>().join(" | ");
        let _ = writeln!(out, "    {patterns}) reply={} ;;", quoted(&kind(&value.values)));
    };
    for (command, flag) in program.all_flags() {
        flag_of(command.map_or(&[], |it| &it.names), flag);
    }
    out.push_str("    *) return 1 ;;\n    esac\n}\n\n");
    out.push_str("# What may follow an option that takes no value.\nFN_follows() {\n    case $1 in\n");
    for flag in &program.flags {
        let names = flag.names.join(" | ");
        if let Some(word) = flag.word {
            let _ = writeln!(out, "    {names}) reply='words {word}' ;;");
        }
    }
    out.push_str("    *) return 1 ;;\n    esac\n}\n\n");
}

/// What stands behind each command.
fn words(out: &mut String, program: &Program) {
    if program.commands.is_empty() {
        return;
    }
    out.push_str(
        "# What the word at that place behind a command can be.\nFN_word() {\n    case \"$1 $2\" in\n",
    );
    for command in &program.commands {
        for (position, Word { values, .. }) in command.words.iter().enumerate() {
            let is_last = position + 1 == command.words.len();
            let place = if is_last && command.repeats { "*".to_owned() } else { (position + 1).to_string() };
            let patterns = command.names.iter().map(|name| format!("{name}\\ {place}")).collect::<Vec<_>>();
            let _ = writeln!(out, "    {}) reply={} ;;", patterns.join(" | "), quoted(&kind(values)));
        }
    }
    out.push_str("    *) reply=any ;;\n    esac\n}\n\n");
}

/// The words as the program would get them.
const WALK: &str = r#"# A word without its quotes, and with the variable or home directory that it begins with. Nothing is run.
FN_plain() {
    reply=$1
    case $reply in
    \"*) reply=${reply#\"} reply=${reply%\"} ;;
    \'*) reply=${reply#\'} reply=${reply%\'}; return ;;
    *) reply=${reply//\\/} ;;
    esac
    local name=
    if [[ $reply =~ ^\$([A-Za-z_][A-Za-z0-9_]*)(.*)$ || $reply =~ ^\$\{([A-Za-z_][A-Za-z0-9_]*)\}(.*)$ ]]; then
        name=${BASH_REMATCH[1]}
        reply=${!name-}${BASH_REMATCH[2]}
    elif [[ $1 == \~/* ]]; then
        reply=${HOME-}/${1#\~/}
    fi
}

# The words up to the cursor: bash takes them apart at characters such as : and =. `places` has where each begins.
FN_read() {
    local place word before line=${COMP_LINE-} glue= joins=
    words=() places=()
    for ((place = 0; place <= COMP_CWORD; place++)); do
        word=${COMP_WORDS[place]-} glue=$joins joins=
        if [[ $word == [:=]* && -z ${word//[:=]/} ]]; then glue=1 joins=1; fi
        # What has no blank before it belongs to the word before.
        if [[ -n $line && $line == *"$word"* ]]; then
            before=${line%%"$word"*}
            if [[ -z $word ]]; then before=${line%%[![:space:]]*}; fi
            line=${line#"$before"} line=${line#"$word"}
            if [[ -z $before ]]; then glue=1; fi
        else
            line=
        fi
        if ((place > 1)) && [[ -n $glue ]]; then
            words[${#words[@]}-1]+=$word
        else
            words+=("$word") places+=("$place")
        fi
    done
}

"#;

/// What can be typed at the cursor.
const OFFER: &str = r#"# Has those of the words offered that begin as what is typed does.
FN_take() {
    local word
    for word; do
        if [[ $word == "$cur"* ]]; then COMPREPLY+=("$prefix$word"); fi
    done
}

# The same for lines that come in.
FN_take_lines() {
    local line
    while IFS= read -r line || [[ -n $line ]]; do
        if [[ -n $line ]]; then FN_take "${line%%$'\t'*}"; fi
    done
}

# Offers what can be a word or value of that kind.
FN_offer() {
    local word
    case $1 in
    words\ *)
        local -a list=()
        IFS=' ' read -ra list <<<"${1#words }"
        FN_take ${list[@]+"${list[@]}"}
        ;;
    files)
        # What is quoted bash knows best.
        case $cur in
        *[\\\"\'\$]*) compopt -o default 2>/dev/null ;;
        *)
            compopt -o filenames 2>/dev/null
            FN_take_lines < <(compgen -f -- "$cur")
            ;;
        esac
        ;;
    directories)
        case $cur in
        *[\\\"\'\$]*) compopt -o dirnames 2>/dev/null ;;
        *)
            compopt -o filenames 2>/dev/null
            FN_take_lines < <(compgen -d -- "$cur")
            ;;
        esac
        ;;
    variables) FN_take_lines < <(compgen -e -- "$cur") ;;
    assignments)
        if [[ $cur != *=* ]]; then
            compopt -o nospace 2>/dev/null
            FN_take_lines < <(compgen -e -S = -- "$cur")
        fi
        ;;
    commands) FN_offer "words ${FN_commands-}" ;;
    ask\ *)
        word=$program
        type -P -- "$word" >/dev/null || word=THE_PROGRAM
        FN_take_lines < <("$word" ${at[@]+"${at[@]}"} --complete "${1#ask }" 2>/dev/null </dev/null)
        ;;
    esac
}

# Leaves out of what is offered what bash takes for the words before.
FN_trim() {
    local whole=$prefix$cur behind entry class= kept=()
    local breaks=${COMP_WORDBREAKS-:=}
    for entry in : =; do
        if [[ $breaks == *"$entry"* ]]; then class+=$entry; fi
    done
    behind=$whole
    if [[ -n $class ]]; then behind=${whole##*[$class]}; fi
    # That one stays with what is behind it.
    if [[ $breaks == *@* && $behind == *@* ]]; then behind=@${behind##*@}; fi
    local cut=$((${#whole} - ${#behind}))
    for entry in ${COMPREPLY[@]+"${COMPREPLY[@]}"}; do kept+=("${entry:cut}"); done
    COMPREPLY=(${kept[@]+"${kept[@]}"})
}

"#;

/// What is the program's that is run.
const PROGRAM: &str = r#"# Completes what begins at that place of COMP_WORDS as a command line of its own.
FN_delegate() {
    local place known spec
    for known in _comp_command_offset _command_offset; do
        if declare -F "$known" >/dev/null; then
            "$known" "$1"
            return
        fi
    done
    COMP_LINE=${COMP_LINE-} COMP_POINT=${COMP_POINT-0}
    for ((place = 0; place < $1; place++)); do
        spec=$COMP_LINE
        spec=${spec#*"${COMP_WORDS[place]}"}
        COMP_POINT=$((COMP_POINT - ${#COMP_LINE} + ${#spec}))
        COMP_LINE=$spec
    done
    spec=${COMP_LINE#"${COMP_LINE%%[![:space:]]*}"}
    COMP_POINT=$((COMP_POINT - ${#COMP_LINE} + ${#spec}))
    COMP_LINE=$spec
    COMP_WORDS=("${COMP_WORDS[@]:$1}")
    COMP_CWORD=$((COMP_CWORD - $1))
    cur=${COMP_WORDS[COMP_CWORD]-}
    if ((COMP_CWORD == 0)); then
        if [[ $cur == */* ]]; then compopt -o filenames 2>/dev/null; fi
        COMPREPLY=()
        FN_take_lines < <(compgen -c -- "$cur" | sort -u)
        return
    fi
    local first=${COMP_WORDS[0]}
    spec=$(complete -p -- "$first" 2>/dev/null || complete -p -- "${first##*/}" 2>/dev/null)
    if [[ $spec =~ \ -F\ ([^\ ]+) ]] && declare -F "${BASH_REMATCH[1]}" >/dev/null; then
        "${BASH_REMATCH[1]}" "$first" "$cur" "${COMP_WORDS[COMP_CWORD-1]}"
    else
        FN_offer files
    fi
}

"#;

const MAIN_OF_SUPERVISOR: &str = r#"FN() {
    local cur= prefix= reply= kind= option= word= letters= place program=
    local -a words=() places=() at=()
    local IFS=$' \t\n'
    COMPREPLY=()
    FN_read
    cur=${words[${#words[@]}-1]-}
    for ((place = 1; place < ${#words[@]} - 1; place++)); do
        word=${words[place]}
        if [[ -n $kind ]]; then
            kind=
            continue
        fi
        case $word in
        --)
            FN_delegate "${places[place+1]}"
            return
            ;;
        --*=* | @?*) ;;
        --*) if FN_value '' "$word"; then kind=$reply; fi ;;
        -?*)
            letters=${word#-}
            while [[ -n $letters ]]; do
                option=-${letters:0:1} letters=${letters:1}
                if FN_value '' "$option"; then
                    if [[ -z $letters ]]; then kind=$reply; fi
                    break
                fi
            done
            ;;
        *)
            # What einhorn has behind it is the option's.
            case "${words[place-1]} $word" in
            THE_MODES) ;;
            *)
                FN_delegate "${places[place]}"
                return
                ;;
            esac
            ;;
        esac
    done
    if [[ -n $kind ]]; then
        FN_offer "$kind"
    elif [[ $cur == --*=* ]] && FN_value '' "${cur%%=*}"; then
        prefix=${cur%%=*}= cur=${cur#*=}
        FN_offer "$reply"
    elif [[ $cur == -[!-]?* ]] && FN_value '' "${cur:0:2}"; then
        prefix=${cur:0:2} cur=${cur:2}
        FN_offer "$reply"
    elif [[ $cur == -* ]]; then
        FN_options ''
        FN_offer "words $reply"
    elif [[ $cur == @* ]]; then
        # Not as file names: bash would put a backslash before the @.
        prefix=@ cur=${cur#@}
        FN_take_lines < <(compgen -f -- "$cur")
        for ((place = 0; place < ${#COMPREPLY[@]}; place++)); do
            if [[ -d ${COMPREPLY[place]#@} ]]; then
                COMPREPLY[place]+=/
                compopt -o nospace 2>/dev/null
            fi
        done
    else
        FN_delegate "${places[${#words[@]}-1]}"
        return
    fi
    FN_trim
}
"#;

const MAIN_OF_CLIENT: &str = r#"FN() {
    local cur= prefix= reply= kind= option= word= letters= command= last= place program=THE_PROGRAM
    local -a words=() places=() at=() given=() own=()
    local -i count=0 ended=0 executes=0
    local IFS=$' \t\n'
    COMPREPLY=()
    FN_read
    cur=${words[${#words[@]}-1]-}
    FN_plain "${words[0]}"
    program=$reply
    for ((place = 1; place < ${#words[@]} - 1; place++)); do
        word=${words[place]}
        last=
        if [[ -n $kind ]]; then
            kind=
            FN_note "$option" "$word"
            continue
        fi
        if ((ended)); then
            if [[ -z $command ]]; then command=$word; else count+=1; fi
            continue
        fi
        case $word in
        --)
            if FN_runs "$command"; then
                FN_delegate "${places[place+1]}"
                return
            fi
            ended=1
            ;;
        --*=*) FN_note "${word%%=*}" "${word#*=}" ;;
        --*)
            option=$word
            if FN_value "$command" "$word" || FN_value '' "$word"; then
                kind=$reply
            else
                last=$word
                FN_note "$word" ''
            fi
            ;;
        -?*)
            letters=${word#-}
            while [[ -n $letters ]]; do
                option=-${letters:0:1} letters=${letters:1}
                if FN_value '' "$option"; then
                    if [[ -z $letters ]]; then kind=$reply; else FN_note "$option" "${letters#=}"; fi
                    break
                fi
            done
            ;;
        *)
            if [[ -z $command ]]; then
                command=$word
            else
                count+=1
                given+=("$word")
            fi
            ;;
        esac
    done
    if [[ -n $kind ]]; then
        FN_offer "$kind"
    elif ((!ended)) && [[ $cur == --*=* ]]; then
        option=${cur%%=*}
        if FN_value "$command" "$option" || FN_value '' "$option"; then
            prefix=$option= cur=${cur#*=}
            FN_offer "$reply"
        fi
    elif ((!ended)) && [[ $cur == -[!-]?* ]] && FN_value '' "${cur:0:2}"; then
        prefix=${cur:0:2} cur=${cur:2}
        FN_offer "$reply"
    elif ((!ended)) && [[ $cur == -* ]]; then
        if [[ -n $command ]]; then
            FN_options "$command"
            FN_offer "words $reply"
            own=(${COMPREPLY[@]+"${COMPREPLY[@]}"}) given=("${own[@]-}")
            COMPREPLY=()
        fi
        FN_options ''
        FN_offer "words $reply"
        FN_once
        COMPREPLY=(${own[@]+"${own[@]}"} ${COMPREPLY[@]+"${COMPREPLY[@]}"})
    elif [[ -n $last ]] && FN_follows "$last"; then
        FN_offer "$reply"
    elif [[ -z $command ]]; then
        if ((!executes)); then FN_offer "words $FN_all"; fi
    else
        FN_word "$command" $((count + 1))
        if [[ $reply == any && -z $cur ]]; then
            FN_options "$command"
            reply="words $reply"
        fi
        FN_offer "$reply"
        FN_once
    fi
    FN_trim
}

# Remembers where a supervisor is to be asked.
FN_note() {
    case $1 in
    -d | --socket-path)
        FN_plain "$2"
        at+=(-d "$reply")
        ;;
    --any-owner) at+=(--any-owner) ;;
    -e | --execute) executes=1 ;;
    esac
}

# Leaves out what is there already.
FN_once() {
    local entry kept=()
    for entry in ${COMPREPLY[@]+"${COMPREPLY[@]}"}; do
        if [[ " ${given[*]-} " != *" $entry "* ]]; then kept+=("$entry"); fi
    done
    COMPREPLY=(${kept[@]+"${kept[@]}"})
}
"#;
