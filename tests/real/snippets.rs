//! The workers that the README prints, as printed: each is run by a supervisor that waits for its word.

use crate::{
    harness::{CLIENT, Folder, SUPERVISOR, Supervisor},
    load::{Load, LoadPlan},
    readme::blocks,
    servers::{await_answers, ends, judge},
    tools::{build, go_build, have, python, skip},
};
use nix::sys::signal::Signal;
use std::{
    env, fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::Command,
};

/// The program that a section of the README prints in that language, without its last line break.
#[track_caller]
fn printed(heading: &str, language: &str) -> &'static str {
    let blocks = blocks(heading, language);
    assert_eq!(blocks.len(), 1, "programs in {language} in README.md under {heading}");
    blocks[0]
}

/// Writes a worker to a file, and returns its path.
#[track_caller]
fn written(folder: &Folder, language: &str) -> String {
    folder.script(&format!("worker.{language}"), printed("Your own program", language))
}

/// Writes a recipe to a file, and returns its path.
#[track_caller]
fn recipe(folder: &Folder, language: &str) -> String {
    folder.script(&format!("recipe.{language}"), printed("Recipes", language))
}

/// A supervisor of two such workers, once the status shows that both have said that they are ready.
#[track_caller]
fn ready(folder: Folder, worker: &[&str]) -> Supervisor {
    ready_with(folder, &[], worker)
}

/// The same with more options.
#[track_caller]
fn ready_with(folder: Folder, options: &[&str], worker: &[&str]) -> Supervisor {
    let mut args = vec!["-m", "-n", "2", "-b", "127.0.0.1:0,r,n"];
    args.extend(options);
    args.push("--");
    args.extend(worker);
    let mut supervisor = Supervisor::start_in(folder, &args, |command| {
        let client = Path::new(CLIENT).parent().expect("a folder").display();
        command.env("PATH", format!("{client}:{}", env::var("PATH").unwrap_or_default()));
    });
    supervisor.await_healthy(2);
    let status = supervisor.ctl_ok(&["status"]);
    assert!(status.contains("generation 1, 2/2 workers healthy\n"), "{status}");
    assert_eq!(status.lines().filter(|row| row.contains("  1           healthy  ")).count(), 2, "{status}");
    supervisor
}

/// The same for one that serves: it also answers, is replaced, and goes when it is told to.
#[track_caller]
fn serves(folder: Folder, worker: &[&str]) {
    let mut supervisor = ready(folder, worker);
    let address = supervisor.address(0);
    assert!(ask(address).starts_with("HTTP/1.0 200 OK\r\n\r\nhello from "), "{}", ask(address));
    supervisor.ctl_ok(&["upgrade"]);
    supervisor.signal(Signal::SIGUSR2);
    assert_eq!(supervisor.await_exit(), 0, "{}", supervisor.log());
    assert!(!supervisor.log().contains("[WARN]"), "{}", supervisor.log());
}

/// The same for a recipe: it is also upgraded twice, and loses none of those who keep their connections.
#[track_caller]
fn drains(name: &str, folder: Folder, worker: &[&str]) {
    let options = folder.join("").display().to_string();
    let mut supervisor = ready_with(folder, &["--chdir", &options], worker);
    let load = Load::start(
        supervisor.address(0),
        LoadPlan { fresh_threads: 2, keepalive_threads: 2, retrying_threads: 0 },
    );
    await_answers(&mut supervisor, &load);
    for _ in 0..2 {
        supervisor.ctl_ok(&["upgrade"]);
        supervisor.await_healthy(2);
        await_answers(&mut supervisor, &load);
    }
    judge(name, &load.stop(), &supervisor.log());
    supervisor.signal(Signal::SIGINT);
    ends(supervisor);
}

fn ask(address: SocketAddr) -> String {
    let mut answer = String::new();
    let mut connection = TcpStream::connect(address).expect("it listens");
    connection.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("it reads");
    connection.read_to_string(&mut answer).expect("it answers");
    answer
}

#[test]
fn the_worker_in_python_serves() {
    let Some(python) = python() else { return skip("there is no python3") };
    if !have(&python, &["-c", "import sys; sys.exit(sys.version_info < (3, 10))"]) {
        return skip("the README's worker needs Python 3.10");
    }
    let folder = Folder::new();
    let worker = written(&folder, "python");
    serves(folder, &[&python, &worker]);
}

#[test]
fn the_worker_in_rust_serves() {
    // It is built as an example, so that the compiler and its lints see it as everything else.
    let built = include_str!("../workers/hello.rs");
    assert_eq!(printed("Your own program", "rust"), built.trim_end(), "README.md and tests/workers/hello.rs");
    let worker = Path::new(SUPERVISOR).with_file_name("examples").join("hello");
    assert!(worker.exists(), "{} is missing: build the examples", worker.display());
    serves(Folder::new(), &[&worker.display().to_string()]);
}

#[test]
fn the_worker_in_shell_is_ready() {
    let folder = Folder::new();
    let worker = written(&folder, "sh");
    ready(folder, &[&worker]);
}

#[test]
fn the_worker_in_c_is_ready() {
    if !have("cc", &["--version"]) {
        return skip("there is no C compiler (`cc`) for the README's worker");
    }
    let folder = Folder::new();
    let (source, worker) = (written(&folder, "c"), folder.join("worker").display().to_string());
    build(Command::new("cc").args(["-O2", "-Wall", "-Wextra", "-o", &worker, &source]));
    ready(folder, &[&worker]);
}

#[test]
fn the_recipe_in_go_drains() {
    if !have("go", &["version"]) {
        return skip("there is no Go (`go`) for the README's recipe");
    }
    let folder = Folder::new();
    let (source, worker) = (recipe(&folder, "go"), folder.join("worker").display().to_string());
    go_build(&source, &worker);
    drains("Go, the recipe", folder, &[&worker]);
}

#[test]
fn the_recipe_in_node_drains() {
    if !have("node", &["--version"]) {
        return skip("there is no Node (`node`) for the README's recipe");
    }
    let folder = Folder::new();
    let worker = recipe(&folder, "js");
    drains("Node, the recipe", folder, &["node", &worker]);
}

#[test]
fn the_recipe_for_fastapi_drains() {
    // Where the packages of the distribution are, and what is found first, are not always the same.
    let has_it = |python: &&str| have(python, &["-c", "import fastapi, uvicorn"]);
    let Some(python) = ["python3", "/usr/bin/python3"].into_iter().find(has_it) else {
        return skip("there is no FastAPI with uvicorn for the README's recipe");
    };
    let folder = Folder::new();
    let worker = recipe(&folder, "python");
    drains("FastAPI, the recipe", folder, &[python, &worker]);
}

/// The least application that Rails takes for one.
const RAILS: &str = "require \"logger\"
require \"action_controller/railtie\"
class App < Rails::Application
  config.eager_load = false
  config.hosts.clear
  config.logger = Logger.new(File::NULL)
  config.secret_key_base = \"x\" * 64
  routes.append { root to: ->(env) { [200, { \"Content-Length\" => \"6\" }, [\"hello\\n\"]] } }
end
App.initialize!
";

#[test]
fn the_recipe_for_rails_drains() {
    if !have("puma", &["--version"]) || !have("ruby", &["-e", "require 'action_controller/railtie'"]) {
        return skip("there is no Rails with puma for the README's recipe");
    }
    let folder = Folder::new();
    fs::create_dir(folder.join("config")).expect("a folder can be made");
    fs::write(folder.join("config/environment.rb"), RAILS).expect("a file can be written");
    fs::write(folder.join("config.ru"), printed("Recipes", "ruby")).expect("a file can be written");
    drains("Rails, the recipe", folder, &["puma", "--bind-to-activated-sockets", "only"]);
}

/// Its packages come from where cargo has them from, and stay with what cargo builds, for the next time.
#[test]
fn the_recipe_for_axum_drains() {
    let folder = Folder::new();
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("axum");
    fs::create_dir_all(place.join("src")).expect("a folder can be made");
    let here = format!("path = {:?}", env!("CARGO_MANIFEST_DIR"));
    let dependencies = printed("Recipes", "toml").replace("path = \"../einhyrningsins\"", &here);
    assert!(dependencies.contains(&here), "{dependencies}");
    let head =
        "[package]\nname = \"recipe\"\nedition = \"2024\"\n[workspace]\n[profile.dev]\ndebug = false\n";
    fs::write(place.join("Cargo.toml"), format!("{head}{dependencies}\n")).expect("a file can be written");
    fs::write(place.join("src/main.rs"), printed("Recipes", "rust")).expect("a file can be written");
    let cargo = |word: &str| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.arg(word).current_dir(&place).env("CARGO_TARGET_DIR", place.join("target"));
        cargo.output().expect("cargo can be run")
    };
    let fetched = cargo("fetch");
    if !fetched.status.success() {
        let said = String::from_utf8_lossy(&fetched.stderr).into_owned();
        return skip(&format!("axum cannot be had for the README's recipe: {}", said.trim()));
    }
    let built = cargo("build");
    let said = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success() && !said.contains("warning:"), "{said}");
    drains("axum, the recipe", folder, &[&place.join("target/debug/recipe").display().to_string()]);
}
