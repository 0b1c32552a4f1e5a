//! The Debian package: what is in it, what lintian has to say of it, and that a service lives as it should where it is
//! installed, under a systemd of the test's own, in a copy of this system that is gone afterwards.
//!
//! `.ci/package` makes it, and its path is told by the variable [`PACKAGE`].

use crate::{
    harness::{Folder, eventually, rust_worker},
    systemd::{BARE, Systemd, systemd_is_possible},
    tools::{BROKEN, err, have, out, skip},
};
use std::{
    collections::BTreeSet,
    env, fs,
    process::{Child, Command, Output, Stdio},
};

/// Where the package is.
const PACKAGE: &str = "EINHYRNINGSINS_DEB";

/// Becomes a systemd whose root is what this system's is, with all that is changed in there kept in memory; with a
/// network and a `/srv` of its own, no unit but those of packages and of the folder `$2`, and none that is started.
const BOOT: &str = r#"
disk=$2/disk
echo 0 >"$1/cgroup.procs" && mount --make-rprivate / && mount -t tmpfs tmpfs "$disk" || exit 77
mkdir "$disk/upper" "$disk/work" "$disk/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$disk/upper,workdir=$disk/work" "$disk/root" || exit 77
cd "$disk/root" || exit 77
mount -t proc proc proc && mount -t tmpfs tmpfs run && mount -t tmpfs tmpfs tmp && mount --rbind /dev dev || exit 77
mount -t sysfs sysfs sys && mount -t cgroup2 none sys/fs/cgroup && mount --bind "$2/srv" srv || exit 77
mkdir -p run/systemd/system old && mount --bind "$2/units" run/systemd/system || exit 77
rm -rf etc/systemd/system usr/sbin/policy-rc.d && mkdir -p etc/systemd/system
pivot_root . old && umount -l /old || exit 77
export SYSTEMD_UNIT_PATH=/etc/systemd/system:/run/systemd/system:/usr/lib/systemd/system:/lib/systemd/system
exec env -i PATH="$PATH" container=test SYSTEMD_LOG_TARGET=null SYSTEMD_UNIT_PATH="$SYSTEMD_UNIT_PATH" "$3"
"#;

const UNIT: &str = "einhyrningsins@web.service";

/// The package's path; nothing, and why, if there is none.
fn package() -> Option<String> {
    let Some(path) = env::var(PACKAGE).ok().filter(|path| !path.is_empty()) else {
        skip(&format!("there is no package; {PACKAGE}=$(.ci/package) makes one and names it"));
        return None;
    };
    if !have("dpkg-deb", &["--version"]) {
        skip("there is no dpkg-deb");
        return None;
    }
    assert!(fs::exists(&path).expect("it can be looked for"), "{PACKAGE}: there is no {path}");
    Some(path)
}

#[track_caller]
fn ok(output: &Output) -> String {
    assert!(output.status.success(), "{}{}", out(output), err(output));
    out(output)
}

fn dpkg_deb(words: &[&str]) -> String {
    ok(&Command::new("dpkg-deb").args(words).output().expect("dpkg-deb can be run"))
}

#[test]
fn the_package_has_what_one_looks_for_where_one_looks_for_it() {
    let Some(package) = package() else { return };
    let listed = dpkg_deb(&["--contents", &package]);
    let mut there = BTreeSet::new();
    for line in listed.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [mode, owner, _, _, _, path] = words[..] else { panic!("{line}") };
        assert_eq!(owner, "root/root", "{line}");
        let is_program = path.starts_with("./usr/bin/") && !path.ends_with('/');
        let wanted = if is_program || mode.starts_with('d') { "rwxr-xr-x" } else { "rw-r--r--" };
        assert_eq!(&mode[1..], wanted, "{line}");
        there.insert(path.to_owned());
    }
    let mut places: Vec<String> = [
        "etc/einhyrningsins/example.conf",
        "usr/lib/systemd/system/einhyrningsins@.service",
        "usr/lib/tmpfiles.d/einhyrningsins.conf",
        "usr/share/man/man7/einhyrningsins-protocol.7.gz",
    ]
    .map(str::to_owned)
    .into();
    for program in ["einhyrningsins", "einhyrningsinsctl"] {
        places.push(format!("usr/bin/{program}"));
        places.push(format!("usr/share/man/man1/{program}.1.gz"));
        places.push(format!("usr/share/bash-completion/completions/{program}"));
        places.push(format!("usr/share/zsh/vendor-completions/_{program}"));
        places.push(format!("usr/share/fish/vendor_completions.d/{program}.fish"));
    }
    for name in ["README.md", "changelog.gz", "copyright"] {
        places.push(format!("usr/share/doc/einhyrningsins/{name}"));
    }
    for name in ["locked-in.conf", "user.conf", "grafana.json", "alerts.yml"] {
        places.push(format!("usr/share/doc/einhyrningsins/examples/{name}"));
    }
    let missing: Vec<_> = places.iter().filter(|place| !there.contains(&format!("./{place}"))).collect();
    assert!(missing.is_empty(), "not in the package: {missing:?}\n{listed}");

    for (field, value) in [("Package", "einhyrningsins"), ("Version", env!("CARGO_PKG_VERSION"))] {
        assert_eq!(dpkg_deb(&["--field", &package, field]).trim_end(), value);
    }
    assert!(dpkg_deb(&["--field", &package, "Depends"]).contains("libc6 (>= "));
    let folder = Folder::new();
    let [root, control] =
        ["root", "control"].map(|name| folder.join(name).to_str().expect("UTF-8").to_owned());
    dpkg_deb(&["--extract", &package, &root]);
    dpkg_deb(&["--control", &package, &control]);
    let read = |name: &str| fs::read_to_string(folder.join(name)).expect("it can be read");
    assert_eq!(read("control/conffiles"), "/etc/einhyrningsins/example.conf\n");
    // Every file is in md5sums, with its sum.
    let mut check = Command::new("md5sum");
    let checked =
        ok(&check.args(["--check", "../control/md5sums"]).current_dir(&root).output().expect("md5sum"));
    let files = there.iter().filter(|path| !path.ends_with('/')).count();
    assert_eq!(checked.lines().count(), files, "{checked}");

    // Pages are pages, of their section, and completions are for their shell.
    for (page, title) in [
        ("man1/einhyrningsins.1", "EINHYRNINGSINS\" \"1\""),
        ("man1/einhyrningsinsctl.1", "EINHYRNINGSINSCTL\" \"1\""),
        ("man7/einhyrningsins-protocol.7", "EINHYRNINGSINS-PROTOCOL\" \"7\""),
    ] {
        let packed = folder.join(&format!("root/usr/share/man/{page}.gz"));
        let text = ok(&Command::new("gzip").arg("-dc").arg(packed).output().expect("gzip"));
        let heading = text.lines().find(|line| line.starts_with(".TH ")).unwrap_or_default();
        let is_it =
            heading.replace("\\-", "-").replace('"', "").to_uppercase().contains(&title.replace('"', ""));
        assert!(is_it, "{page} is titled {heading:?}");
    }
    for program in ["einhyrningsins", "einhyrningsinsctl"] {
        let bash = read(&format!("root/usr/share/bash-completion/completions/{program}"));
        assert!(bash.contains("complete ") && bash.contains(program), "{bash}");
        let zsh = read(&format!("root/usr/share/zsh/vendor-completions/_{program}"));
        assert!(zsh.starts_with(&format!("#compdef {program}")), "{zsh}");
        let fish = read(&format!("root/usr/share/fish/vendor_completions.d/{program}.fish"));
        assert!(fish.contains(&format!("complete -c {program} ")), "{fish}");
    }
}

#[test]
fn lintian_has_no_error_and_no_warning_for_the_package() {
    let Some(package) = package() else { return };
    if !have("lintian", &["--version"]) {
        return skip("there is no lintian");
    }
    let mut lintian = Command::new("lintian");
    lintian.args(["--allow-root", "--fail-on", "error,warning", &package]);
    let output = lintian.output().expect("lintian can be run");
    assert!(output.status.success() && out(&output).is_empty(), "{}{}", out(&output), err(&output));
}

/// A system where the package can be installed.
fn system(package: &str) -> Option<Systemd> {
    if !systemd_is_possible() {
        return None;
    }
    let folder = Folder::new();
    for place in ["disk", "units/einhyrningsins@.service.d", "srv/app/1"] {
        fs::create_dir_all(folder.join(place)).expect("a folder can be made");
    }
    fs::copy(package, folder.join("srv/einhyrningsins.deb")).expect("the package can be copied");
    fs::copy(rust_worker(), folder.join("srv/http")).expect("the worker can be copied");
    for (to, from) in [("1", "srv/app/current"), ("srv/log", "log")] {
        std::os::unix::fs::symlink(to, folder.join(from)).expect("a link can be made");
    }
    folder.script("srv/app/1/server", &serving(1));
    let online = ("network-online.target", "[Unit]\nDefaultDependencies=no\n");
    let said = ("einhyrningsins@.service.d/test.conf", "[Service]\nStandardError=append:/srv/log\n");
    for (unit, text) in BARE.into_iter().chain([online, said]) {
        fs::write(folder.join("units").join(unit), text).expect("a unit can be written");
    }
    Systemd::boot_in(folder, BOOT, UNIT)
}

/// A worker that serves, and says which release it is.
fn serving(version: u32) -> String {
    format!("#!/bin/sh\nDEMO_VERSION={version} exec /srv/http\n")
}

/// What is done with an installed package.
struct Installed(Systemd);

impl Installed {
    /// Neither other packages nor the disk are to take note.
    fn dpkg(&self, words: &[&str]) {
        self.0.ok(&[&["dpkg", "--no-triggers", "--force-unsafe-io"], words].concat());
    }

    fn install(&self) {
        self.dpkg(&["--install", "/srv/einhyrningsins.deb"]);
    }

    fn write(&self, path: &str, text: &str) {
        let write = r#"mkdir -p "${1%/*}" && printf %s "$2" >"$1""#;
        self.0.ok(&["sh", "-c", write, "sh", path, text]);
    }

    fn has(&self, path: &str) -> bool {
        self.0.run(&["test", "-e", path]).status.success()
    }

    /// What a service listens on, and runs.
    fn configure(&self, name: &str, port: u16) {
        let text = format!(
            "# As the example has it.\n--number 2\n--ready manual\n--bind 127.0.0.1:{port},r,n\n-- \
             /srv/app/current/server\n"
        );
        self.write(&format!("/etc/einhyrningsins/{name}.conf"), &text);
    }

    fn ask(&self, port: u16) -> String {
        self.0.ok(&["curl", "-sS", "--max-time", "10", &format!("http://127.0.0.1:{port}/")])
    }

    /// The workers' pids, as the client tells them, with those words in front of the command.
    fn workers(&self, words: &[&str]) -> Vec<u32> {
        let status = self.0.ok(&[&["einhyrningsinsctl"], words, &["status"]].concat());
        let healthy = status.lines().filter(|line| line.contains("healthy  "));
        healthy.filter_map(|line| line.split_whitespace().nth(1)?.parse().ok()).collect()
    }

    /// Before there is one, all that it would keep ends with the supervisor.
    fn await_keeper(&self) {
        let main = self.0.shows("MainPID");
        eventually("there is a keeper", || {
            self.0.run(&["pgrep", "-P", &main, "-x", "einhyrn-keeper"]).status.success().then_some(())
        });
    }

    /// Kills the supervisor; systemd starts another, and the workers are the same.
    fn kill(&self, words: &[&str], generation: u32) {
        let workers = self.workers(words);
        assert_eq!(workers.len(), 2);
        let (main, times) = (self.0.shows("MainPID"), self.0.shows("NRestarts"));
        self.await_keeper();
        self.0.ok(&["kill", "-KILL", &main]);
        let times = times.parse::<u32>().expect("a number") + 1;
        self.0.await_shown("NRestarts", &times.to_string());
        self.0.await_shown("ActiveState", "active");
        self.0.await_shown("StatusText", &format!("2/2 workers healthy, generation {generation}"));
        assert_ne!(self.0.shows("MainPID"), main);
        assert_eq!(self.workers(words), workers);
    }

    fn stop(&self) {
        self.0.ok(&["systemctl", "stop", UNIT]);
        for (property, value) in [("Result", "success"), ("ActiveState", "inactive")] {
            assert_eq!(self.0.shows(property), value, "{property}");
        }
        let left = self.0.run(&["pgrep", "-l", "einhyrn|http"]);
        assert_eq!(out(&left), "", "somebody is left");
    }
}

/// Clients that ask until they are told to stop, and note what goes wrong.
struct Load(Vec<Child>);

impl Load {
    fn start(on: &Systemd) -> Self {
        let ask =
            "until [ -e /srv/enough ]; do curl -sS --max-time 10 http://127.0.0.1:8080/ || echo FAILED; done";
        let one = |number| {
            let noted = format!("exec >/srv/answers-{number} 2>&1; {ask}");
            let mut command = on.entering(&["sh", "-c", &noted]);
            command.stdin(Stdio::null()).spawn().expect("a client can be run")
        };
        Self([1, 2].map(one).into())
    }

    fn notes(on: &Systemd) -> String {
        let read = |number| fs::read_to_string(on.folder.join(&format!("srv/answers-{number}")));
        [1, 2].map(|number| read(number).unwrap_or_default()).concat()
    }

    /// Waits for some answers by that version.
    #[track_caller]
    fn await_answers(on: &Systemd, version: u32) {
        let end = format!(" version {version}");
        eventually("there are answers", || {
            let notes = Self::notes(on);
            (notes.lines().filter(|line| line.ends_with(&end)).count() > 10).then_some(())
        });
    }

    /// Nothing was lost.
    fn end(mut self, on: &Systemd) {
        fs::write(on.folder.join("srv/enough"), "").expect("a file can be written");
        for child in &mut self.0 {
            assert!(child.wait().expect("it can be waited for").success());
        }
        let notes = Self::notes(on);
        let lost: Vec<&str> = notes.lines().filter(|line| !line.starts_with("worker ")).collect();
        assert!(lost.is_empty(), "{lost:?}");
    }
}

#[test]
fn an_installed_service_starts_reloads_is_killed_and_stops_and_the_package_goes() {
    let Some(package) = package() else { return };
    let Some(systemd) = system(&package) else { return };
    let it = Installed(systemd);
    let systemd = &it.0;
    it.install();
    assert_eq!(systemd.ok(&["stat", "-c", "%U %a", "/run/einhyrningsins"]), "root 755\n");
    let verified = systemd.run(&["systemd-analyze", "verify", UNIT]);
    assert_eq!((ok(&verified).as_str(), err(&verified).as_str()), ("", ""));

    // Without a file there is no service, and that is said at once.
    assert!(!systemd.run(&["systemctl", "start", UNIT]).status.success());
    assert_eq!(systemd.shows("AssertResult"), "no");
    it.configure("web", 8080);
    it.configure("api", 8081);
    systemd.ok(&["systemctl", "enable", "--now", UNIT]);
    systemd.await_shown("StatusText", "2/2 workers healthy, generation 1");
    assert!(it.ask(8080).ends_with(" version 1\n"));
    let load = Load::start(systemd);
    Load::await_answers(systemd, 1);
    let client = ["-d", "/run/einhyrningsins/web.sock"];

    // Of two services one goes, and the other stays.
    systemd.ok(&["systemctl", "start", "einhyrningsins@api"]);
    assert!(it.ask(8081).ends_with(" version 1\n"));
    systemd.ok(&["systemctl", "stop", "einhyrningsins@api"]);
    assert_eq!(it.workers(&client).len(), 2);

    systemd.release(2, &serving(2));
    systemd.ok(&["systemctl", "reload", UNIT]);
    systemd.await_shown("StatusText", "2/2 workers healthy, generation 2");
    assert!(it.ask(8080).ends_with(" version 2\n"));

    // A release that does not come up, and a file that is wrong, are told, and the service goes on.
    let before = it.workers(&client);
    systemd.release(3, BROKEN);
    assert!(!systemd.run(&["systemctl", "reload", UNIT]).status.success());
    systemd.await_shown("StatusText", "2/2 workers healthy, generation 2; generation 3 was rolled back");
    systemd.release(4, &serving(2));
    let right = systemd.ok(&["cat", "/etc/einhyrningsins/web.conf"]);
    it.write("/etc/einhyrningsins/web.conf", &format!("--nonsense\n{right}"));
    assert!(!systemd.run(&["systemctl", "reload", UNIT]).status.success());
    assert_eq!((systemd.shows("ActiveState").as_str(), it.workers(&client)), ("active", before));
    it.write("/etc/einhyrningsins/web.conf", &right);
    systemd.ok(&["systemctl", "reload", UNIT]);
    systemd.await_shown("StatusText", "2/2 workers healthy, generation 4");

    it.kill(&client, 4);

    // Nothing happens to it when the package is put in place again. What is there by then takes over on command, and
    // with it what is new in the file.
    let (main, before) = (systemd.shows("MainPID"), it.workers(&client));
    it.install();
    let more = right.replace("--number 2", "--number 3");
    it.write("/etc/einhyrningsins/web.conf", &more);
    assert_eq!((systemd.shows("MainPID"), it.workers(&client)), (main.clone(), before.clone()));
    systemd.ok(&["einhyrningsinsctl", "-d", "/run/einhyrningsins/web.sock", "reexec"]);
    systemd.await_shown("StatusText", "3/3 workers healthy, generation 4");
    assert_eq!(
        (systemd.shows("MainPID"), &it.workers(&client)[..2]),
        (main, &before[..]),
        "{}",
        systemd.log()
    );
    it.write("/etc/einhyrningsins/web.conf", &right);
    Load::await_answers(systemd, 2);
    load.end(systemd);
    it.stop();
    assert!(!it.has("/run/einhyrningsins/web.sock"));

    // The changes that are in the package as examples, both at once.
    for change in ["user", "locked-in"] {
        let from = format!("/usr/share/doc/einhyrningsins/examples/{change}.conf");
        let to = format!("/etc/systemd/system/{UNIT}.d/{change}.conf");
        let text = systemd.ok(&["cat", &from]);
        it.write(&to, &text);
    }
    systemd.ok(&["systemctl", "daemon-reload"]);
    let verified = systemd.run(&["systemd-analyze", "verify", UNIT]);
    assert_eq!((ok(&verified).as_str(), err(&verified).as_str()), ("", ""));
    systemd.ok(&["systemctl", "start", UNIT]);
    let client = ["--any-owner", "-d", "/run/einhyrningsins-web/control"];
    let worker = it.workers(&client)[0];
    assert_eq!(systemd.ok(&["stat", "-c", "%U", &format!("/proc/{worker}")]), "www-data\n");
    systemd.ok(&["systemctl", "reload", UNIT]);
    systemd.await_shown("StatusText", "2/2 workers healthy, generation 2");
    it.kill(&client, 2);
    it.stop();

    // Locked in as root; and the end of the package is the end of its services.
    systemd.ok(&["rm", &format!("/etc/systemd/system/{UNIT}.d/user.conf")]);
    systemd.ok(&["systemctl", "daemon-reload"]);
    systemd.ok(&["systemctl", "start", UNIT]);
    it.kill(&["-d", "/run/einhyrningsins/web.sock"], 1);
    it.dpkg(&["--remove", "einhyrningsins"]);
    systemd.await_shown("ActiveState", "inactive");
    let left = systemd.run(&["pgrep", "-l", "einhyrn|http"]);
    assert_eq!(out(&left), "", "somebody is left");
    for (path, stays) in [
        ("/usr/bin/einhyrningsins", false),
        ("/usr/lib/systemd/system/einhyrningsins@.service", false),
        ("/run/einhyrningsins", false),
        ("/etc/einhyrningsins/example.conf", true),
        ("/etc/einhyrningsins/web.conf", true),
    ] {
        assert_eq!(it.has(path), stays, "{path} after the package was removed");
    }
    it.dpkg(&["--purge", "einhyrningsins"]);
    assert!(!it.has("/etc/einhyrningsins/example.conf"));
    assert!(it.has("/etc/einhyrningsins/web.conf"), "what people have written is theirs");
}
