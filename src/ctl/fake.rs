//! A supervisor that only follows a script. For tests.

use super::{connection::Target, owner::Owner, patience::Patience};
use std::{
    env, fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    path::PathBuf,
    process,
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
};

static COUNT: AtomicUsize = AtomicUsize::new(0);

/// Listens in a directory of its own, which goes when it does.
pub(crate) struct Fake {
    directory: PathBuf,
    requests: Receiver<String>,
    hang_ups: Receiver<()>,
}

impl Fake {
    /// `script` has, for each connection, what to say to each request on it. When there is nothing
    /// left to say the connection is closed.
    pub(crate) fn new(script: &[&[&str]]) -> Self {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory = env::temp_dir().join(format!("einhyrningsinsctl-test-{}-{number}", process::id()));
        fs::create_dir(&directory).unwrap();
        let listener = UnixListener::bind(directory.join("fake.sock")).unwrap();
        let script: Vec<Vec<String>> = script
            .iter()
            .map(|answers| answers.iter().map(|answer| (*answer).to_owned()).collect())
            .collect();
        let (request_sender, requests) = channel();
        let (hang_up_sender, hang_ups) = channel();
        thread::spawn(move || {
            for answers in script {
                let (stream, _) = listener.accept().unwrap();
                serve(stream, &answers, &request_sender);
                let _ = hang_up_sender.send(());
            }
        });
        Self { directory, requests, hang_ups }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.join("fake.sock")
    }

    /// The same for a client.
    pub(crate) fn target(&self) -> Target {
        Target { path: self.path(), owner: Owner::RootOrSelf, patience: Patience::of(None) }
    }

    /// The lines that came since the last call.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.try_iter().collect()
    }

    /// Waits until that many connections have been closed.
    pub(crate) fn wait_for_hang_ups(&self, count: usize) {
        for _ in 0..count {
            self.hang_ups.recv().unwrap();
        }
    }
}

fn serve(mut stream: UnixStream, answers: &[String], requests: &Sender<String>) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    for answer in answers {
        let Some(Ok(line)) = lines.next() else { return };
        let _ = requests.send(line);
        let _ = stream.write_all(answer.as_bytes());
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}
