//! The programs that need nothing of a system, in a folder that has nothing else. `.ci/static` makes them, and the path
//! of their archive is told by the variable [`ARCHIVE`].

use crate::{
    harness::{Folder, eventually},
    tools::{err, have, out, skip},
};
use std::{
    env, fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    process::{Child, Command, Output, Stdio},
};

/// Where the archive is.
const ARCHIVE: &str = "EINHYRNINGSINS_STATIC";

/// Runs what follows the folder `$1` with that for its root, with a `/proc` and a `/dev/null` as any system has them, in
/// namespaces that end with it. Ends with status 77 where that cannot be made.
const ENCLOSE: &str = r#"
cd "$1" && mount --make-rprivate / && mount -t proc proc proc && : >dev/null || exit 77
mount --bind /dev/null dev/null || exit 77
shift
exec chroot . "$@"
"#;

/// A folder with the programs; nothing, and why, if there is none.
fn folder() -> Option<Folder> {
    let Some(archive) = env::var(ARCHIVE).ok().filter(|path| !path.is_empty()) else {
        skip(&format!("there is no static build; {ARCHIVE}=$(.ci/static) makes one and names it"));
        return None;
    };
    if !nix::unistd::geteuid().is_root() || !have("unshare", &["--version"]) {
        skip("there is no unshare, or it may not be used by this user");
        return None;
    }
    let folder = Folder::new();
    for place in ["proc", "dev", "tmp", "etc"] {
        fs::create_dir(folder.join(place)).expect("a folder can be made");
    }
    let mut tar = Command::new("tar");
    tar.args(["--strip-components=1", "-xzf", &archive, "-C"]).arg(folder.join(""));
    assert!(tar.status().expect("tar can be run").success());
    Some(folder)
}

/// How a program is run in there.
fn enclosing(folder: &Folder, words: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--fork", "--pid", "--mount", "--kill-child", "sh", "-c", ENCLOSE, "sh"]);
    command.arg(folder.join("")).args(words).stdin(Stdio::null());
    command
}

fn enclosed(folder: &Folder, words: &[&str]) -> Output {
    enclosing(folder, words).output().expect("unshare can be run")
}

/// Ends with all that runs in there.
struct Enclosed(Child);

impl Drop for Enclosed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn static_programs_serve_and_upgrade_with_nothing_around_them() {
    let Some(folder) = folder() else { return };
    let client =
        |words: &[&str]| enclosed(&folder, &[&["/einhyrningsinsctl", "-d", "/tmp/ctl"], words].concat());
    let version = client(&["--version"]);
    if version.status.code() == Some(77) {
        return skip("namespaces cannot be made");
    }
    assert_eq!(
        out(&version),
        format!("einhyrningsinsctl {}\n", env!("CARGO_PKG_VERSION")),
        "{}",
        err(&version)
    );
    let words =
        ["/einhyrningsins", "-d", "/tmp/ctl", "-n", "2", "-b", "127.0.0.1:0,n", "-b", "[::1]:0,n", "--demo"];
    let log = folder.join("log");
    let said = || fs::read_to_string(&log).unwrap_or_default();
    let mut supervisor = enclosing(&folder, &words);
    let supervisor =
        supervisor.stderr(fs::File::create(&log).expect("a log")).spawn().expect("it can be run");
    let mut supervisor = Enclosed(supervisor);
    eventually("two workers are healthy", || {
        out(&client(&["status"])).contains("generation 1, 2/2 workers healthy\n").then_some(())
    });
    let upgraded = client(&["upgrade"]);
    assert!(upgraded.status.success(), "{}{}\n{}", out(&upgraded), err(&upgraded), said());
    let told = said();
    let addresses: Vec<&str> = told.lines().filter_map(|line| line.split("listening on ").nth(1)).collect();
    assert_eq!(addresses.len(), 2, "{told}");
    for address in addresses {
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("it can be asked");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        assert!(answer.contains("worker "), "{answer}");
    }
    assert!(client(&["die", "--wait"]).status.success());
    eventually("it ends", || supervisor.0.try_wait().expect("it can be waited for"));
}

/// What a command line that listens there is told, and the status that it ends with.
fn checked(folder: &Folder, bind: &str) -> (Option<i32>, String) {
    let words = ["/einhyrningsins", "--check-config", "-d", "/tmp/ctl", "-b", bind, "/einhyrningsinsctl"];
    let output = enclosed(folder, &words);
    (output.status.code(), err(&output))
}

#[test]
fn static_programs_find_names_in_files_and_go_without_otherwise() {
    let Some(folder) = folder() else { return };
    let numbers = ["127.0.0.1:0", "[::1]:0", "unix:/tmp/socket,user=33,group=33", "unix:@name"];
    let names = ["a-host.test:0", "unix:/tmp/socket,user=somebody", "unix:/tmp/socket,group=some"];
    for bind in numbers {
        let (code, said) = checked(&folder, bind);
        if code == Some(77) {
            return skip("namespaces cannot be made");
        }
        assert_eq!(code, Some(0), "{bind}: {said}");
    }
    for bind in names {
        let (code, said) = checked(&folder, bind);
        assert!(code != Some(0) && said.contains(bind), "{bind}: {code:?}, {said}");
    }
    for (name, text) in [
        ("hosts", "127.0.0.1 a-host.test\n"),
        ("passwd", "somebody:x:33:33::/:/none\n"),
        ("group", "some:x:33:\n"),
        // Sources that only a shared library can ask are passed over.
        ("nsswitch.conf", "passwd: files sss systemd\ngroup: files sss\nhosts: files mymachines dns\n"),
    ] {
        fs::write(folder.join("etc").join(name), text).expect("a file can be written");
    }
    for bind in names {
        let (code, said) = checked(&folder, bind);
        assert_eq!(code, Some(0), "{bind}: {said}");
    }
}
