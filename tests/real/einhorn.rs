//! Clients of einhorn's that speak its own dialect, as Ruby and Go do.

use crate::{
    harness::{Folder, SUPERVISOR, Supervisor, is_alive, is_ok, member, number, text},
    load::get,
    probe::python,
    tools::{ask, err, go_build, have, out, skip, sleepers},
};
use miniserde::json::{self, Value};
use std::{path::Path, process::Command};

/// A worker that acknowledges by a line, in which `PID` stands for its own, and reads no answer.
const WORKER: &str = r#"
import os, signal, socket, sys
signal.alarm(900)
control = socket.socket(socket.AF_UNIX)
control.connect(os.environ["EINHORN_SOCK_PATH"])
control.sendall(sys.argv[1].replace("PID", str(os.getpid())).encode() + b"\n")
control.close()
signal.pause()
"#;

/// A supervisor of one such worker.
fn reporting(timeout: &str, line: &str) -> Supervisor {
    let folder = Folder::new();
    let program = folder.script("worker.py", WORKER);
    let args = ["-m", "-r", "1", "--ack-timeout", timeout, "--", &python(), &program, line];
    Supervisor::start_in(folder, &args, |_| {})
}

#[test]
fn a_worker_that_acknowledges_as_rubys_gos_or_nodes_clients_do_is_acknowledged() {
    for line in [
        "---%0Acommand: worker:ack%0Apid: PID%0A",
        "command: worker:ack%0Apid: PID%0A",
        "---%0Acommand:%20worker:ack%0Apid:%20PID",
        "---%0A:command: worker:ack%0A:pid: PID%0A",
    ] {
        let mut supervisor = reporting("60", line);
        supervisor.await_healthy(1);
        assert!(!supervisor.log().contains("WARN"), "{line}: {}", supervisor.log());
    }
}

/// A service of baseplate's, as far as it has to do with einhorn.
const BASEPLATE: &str = r#"
import signal
from baseplate.server import einhorn
assert einhorn.is_worker() and einhorn.get_socket_count() == 1
listener = einhorn.get_socket()
signal.signal(signal.SIGUSR2, lambda *_: exit(0))
einhorn.ack_startup()
while True:
    connection, _ = listener.accept()
    connection.recv(4096)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    connection.close()
"#;

#[test]
fn baseplate_finds_its_socket_acknowledges_and_is_upgraded() {
    // Where .ci/run puts it.
    let modules =
        Path::new(SUPERVISOR).parent().and_then(Path::parent).expect("a target directory").join("python");
    let modules = modules.display().to_string();
    let finds = format!("import sys; sys.path.insert(0, {modules:?}); import baseplate.server.einhorn");
    if !have("python3", &["-c", &finds]) {
        return skip(&format!("there is no baseplate in {modules}"));
    }
    let folder = Folder::new();
    let program = folder.script("service.py", BASEPLATE);
    let args = ["-n", "2", "-m", "-b", "127.0.0.1:0", "--", &python(), &program];
    let mut supervisor = Supervisor::start_in(folder, &args, |command| {
        command.env("PYTHONPATH", &modules);
    });
    let old = supervisor.await_healthy(2);
    supervisor.ctl_ok(&["upgrade"]);
    let new = supervisor.await_healthy(2);
    assert!(!new.iter().any(|pid| old.contains(pid)));
    assert_eq!(get(supervisor.address(0)).expect("an answer").status, 200);
    assert!(!supervisor.log().contains("WARN"), "{}", supervisor.log());
}

#[test]
fn a_report_in_the_dialect_that_is_refused_is_warned_of_with_who_sent_it_and_why() {
    for (line, why) in [
        ("---%0Acommand: worker:ack%0Apid: 1%0A", "no worker has pid 1"),
        (
            "---%0Acommand: worker:ack%0Apid: &a 1%0A",
            "line 3 of the decoded request: `&a 1` is an anchor; accepted",
        ),
        ("---%0Acommand: worker:ack%0Apid: %A", "line 3 of the decoded request: `%A` is no percent escape"),
    ] {
        let mut supervisor = reporting("60", line);
        let pid = supervisor.eventually("a worker", |me| me.children().first().copied());
        supervisor.await_log(&format!("[WARN] worker pid {pid}: process {pid} ("));
        supervisor.await_log(&format!(" sent `{line}`, which is refused: {why}"));
        assert!(is_alive(pid), "{}", supervisor.log());
    }
}

#[test]
fn the_answer_is_in_the_dialect_of_the_question() {
    let (supervisor, _) = sleepers(1, &[]);
    let answer = ask(&supervisor, "request_id: 7%0Acommand: ehlo%0Aargs:%0A- 100%25 + é%0A");
    assert!(text(&answer, "message").starts_with("Hello 100%25 + é,"), "{answer:?}");
    assert_eq!(number(&answer, "request_id"), 7);
    let answer = ask(&supervisor, "---%0Aid: a%25b%0Acommand: frob%25%0A");
    assert!(!is_ok(&answer) && text(&answer, "message").contains("`frob%25`"), "{answer:?}");
    assert_eq!(text(&answer, "request_id"), "a%25b");
    let answer = ask(&supervisor, r#"{"request_id":"7","command":"ehlo","user":"100%"}"#);
    assert!(text(&answer, "message").starts_with("Hello 100%,"), "{answer:?}");
    assert_eq!(text(&answer, "request_id"), "7");
}

#[test]
fn state_and_config_tell_how_things_are_and_which_options_are_in_effect() {
    let (mut supervisor, pids) = sleepers(2, &["--grace-period", "7.5"]);
    supervisor.ctl_ok(&["inc"]);
    supervisor.await_healthy(3);
    let state = ask(&supervisor, "---%0Acommand: state%0A");
    let said = text(&state, "message");
    let worker = format!("\n    {}:\n      :type: :worker\n      :version: 1\n      :acked: true\n", pids[0]);
    assert!(said.starts_with("---\n:state:\n  :children:\n") && said.contains(&worker), "{said}");
    assert!(said.contains("\n  :config:\n    :number: 3\n"), "{said}");

    let config = ask(&supervisor, "---%0Aid: 1%0Acommand: config%0Aargs: []%0A");
    let said = text(&config, "message");
    for line in ["number: 3", "grace-period: \"7.5\"", "program: [\"sleep\",\"600\"]", "bind: []"] {
        assert!(said.lines().any(|said| said == line), "{line}: {said}");
    }
    assert_eq!(number(member(&config, "config"), "number"), 3);
    let merge = ask(&supervisor, "---%0Aid: 1%0Acommand: config%0Aargs:%0A- '{number: 3}'%0A");
    assert_eq!(text(&merge, "message"), "config: unexpected argument `{number: 3}`; it takes none");
}

/// Texts in which something is special to YAML, to an encoding, to JSON or to a terminal.
const TEXTS: &[&str] = &[
    "plain",
    "100%0A%25%",
    "a + b",
    "it's \"so\"",
    "\\u0041\\/\\",
    "tab\there",
    "ünï → 漢 😀",
    "\u{7f}\u{85}\u{9f}\u{a0}",
    "\u{2028}\u{2029}\u{feff}",
    "two\nlines\n",
    "\n",
    " lead",
    "trail ",
    "- x",
    "a: b # c",
    "true",
    "~",
    "1e3",
    "",
    "{}",
    "[]",
    "<<",
    "word  word   word word word word  word word word word word word word word word word word   word",
];

/// Sends each of the texts through a client, and looks at what comes back: both as JSON. `command` is to say so
/// behind the path of the socket and the texts.
#[track_caller]
fn round_trip(command: &mut Command) {
    let (supervisor, _) = sleepers(1, &[]);
    let texts = json::to_string(&TEXTS.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
    let output =
        command.arg(supervisor.socket()).arg(texts).env("LC_ALL", "C").output().expect("it can be run");
    assert!(output.status.success(), "{}{}", out(&output), err(&output));
    let said = out(&output);
    let answers: Vec<Value> = said.lines().map(|line| json::from_str(line).expect("JSON")).collect();
    assert!(answers.len() >= TEXTS.len(), "{said}");
    for (id, (answer, sent)) in answers.iter().zip(TEXTS).enumerate() {
        assert!(
            text(answer, "message").starts_with(&format!("Hello {sent}, this is ")),
            "{sent:?}: {answer:?}"
        );
        assert_eq!(number(answer, "request_id"), i64::try_from(id).expect("a few"));
        assert!(is_ok(answer));
    }
}

/// As `Einhorn::Client` of einhorn's own library: YAML of which line ends and `%` are escaped. At the end, texts at
/// random.
const RUBY: &str = r##"
require "json"
require "socket"
require "yaml"
$control = UNIXSocket.open(ARGV[0])
def ask(request)
  $control.write(YAML.dump(request).gsub(/[%\n]/) { |char| format("%%%02X", char.ord) } + "\n")
  YAML.load($control.readline.gsub(/%(?:25|0A)/) { |code| code[1..].hex.chr })
end
def greet(text, id)
  ask("id" => id, "command" => "ehlo", "args" => [text])
end
JSON.parse(ARGV[1].dup.force_encoding("UTF-8")).each_with_index do |text, id|
  puts JSON.generate(greet(text, id), ascii_only: true)
end
state = YAML.load(ask("command" => "state")["message"])[:state]
raise state.inspect unless state[:children].count == 1 && state[:children].first.last[:signaled].empty?
config = ask("command" => "config", "id" => "x")
raise config.inspect unless config["request_id"] == "x" && YAML.load(config["message"])["number"] == 1
pieces = ["word", "é", "😀", " ", "  ", "\n", "\t", "'", '"', "\\", "%", "%0A", ":", ": ", "#", " #", "-", "- ", "|", ">",
          "!", "&", "*", "?", "[", "{", ",", "0", "1.5", "~", "\u0001", "\u0085", "\u2028", "\r", "+", "word word word word "]
random = Random.new(7)
500.times do
  text = Array.new(random.rand(40)) { pieces.sample(random: random) }.join
  said = greet(text, text)
  raise [text, said].inspect unless said["request_id"] == text && said["message"].start_with?("Hello #{text}, this is ")
end
"##;

#[test]
fn ruby_is_understood_and_reads_the_answers() {
    if !have("ruby", &["-ryaml", "-rjson", "-e", "exit(Psych::VERSION.to_i >= 4)"]) {
        return skip("there is no ruby with Psych 4");
    }
    let folder = Folder::new();
    round_trip(Command::new("ruby").args(["-Ku", &folder.script("client.rb", RUBY)]));
}

/// As go-einhorn's client reads an answer, `url.QueryUnescape`; but there is no YAML in Go's own library, so what is
/// sent is Go's strings, in which all that is escaped is YAML's, and what comes back is read as JSON.
const GO: &str = r#"
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	control, err := net.Dial("unix", os.Args[1])
	must(err)
	answers := bufio.NewReader(control)
	var texts []string
	must(json.Unmarshal([]byte(os.Args[2]), &texts))
	for id, text := range texts {
		request := fmt.Sprintf("request_id: %d\ncommand: ehlo\nargs:\n- %+q\n", id, text)
		fmt.Fprintln(control, strings.NewReplacer("%", "%25", "\n", "%0A").Replace(request))
		line, err := answers.ReadString('\n')
		must(err)
		line, err = url.QueryUnescape(line)
		must(err)
		var answer map[string]interface{}
		must(json.Unmarshal([]byte(line), &answer))
		said, _ := json.Marshal(answer)
		fmt.Println(string(said))
	}
}
"#;

#[test]
fn go_is_understood_and_reads_the_answers() {
    if !have("go", &["version"]) {
        return skip("there is no go");
    }
    let folder = Folder::new();
    let client = folder.join("client").display().to_string();
    go_build(&folder.script("client.go", GO), &client);
    round_trip(&mut Command::new(client));
}

/// As go-einhorn's client, with YAML.
const PYTHON: &str = r#"
import json, socket, sys, urllib.parse, yaml
control = socket.socket(socket.AF_UNIX)
control.connect(sys.argv[1])
answers = control.makefile("r", encoding="utf-8", newline="\n")
for id, text in enumerate(json.loads(sys.argv[2])):
    request = yaml.safe_dump({"request_id": id, "command": "ehlo", "args": [text]}, allow_unicode=True)
    control.sendall(request.replace("%", "%25").replace("\n", "%0A").encode() + b"\n")
    answer = yaml.safe_load(urllib.parse.unquote_plus(answers.readline()))
    print(json.dumps(answer))
"#;

#[test]
fn a_reader_of_yaml_behind_an_encoding_reads_the_answers() {
    if !have("python3", &["-c", "import yaml"]) {
        return skip("there is no python3 with yaml");
    }
    let folder = Folder::new();
    round_trip(Command::new("python3").args(["-X", "utf8", &folder.script("client.py", PYTHON)]));
}
