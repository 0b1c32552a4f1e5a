//! Where news comes from: threads that wait, each for one thing, so that nothing waits for anything else.

use super::{
    model::{Event, News},
    screen::restore_keys,
    usage::Meter,
};
use crate::{
    cli::order::Order,
    ctl::{
        clock::Clock,
        connection::Target,
        interrupt::{Interrupts, Waited},
        report::Report,
        session::{Session, Trouble},
    },
    protocol::Envelope,
};
use miniserde::json::{Number, Object, Value};
use signal_hook::{
    consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGWINCH},
    iterator::Signals,
    low_level::emulate_default_handler,
};
use std::{
    fs::File,
    io::{self, Read as _},
    os::fd::AsFd as _,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, SyncSender},
    },
    thread,
    time::Duration,
};

/// What comes to whoever draws.
#[derive(Debug)]
pub enum Heard {
    /// From a supervisor, or of it.
    News(News),
    /// From the terminal.
    Bytes(Vec<u8>),
    /// Nothing comes from the terminal any more.
    NoInput,
    /// A signal.
    Signal(i32),
}

/// Who draws may have to wait for the terminal; then everybody else waits, too.
pub type Ear = SyncSender<Heard>;

/// A supervisor that says nothing for so long does not answer.
const QUIET: Duration = Duration::from_secs(2);

/// How soon it is looked again while something is going on.
const SOON: Duration = Duration::from_millis(500);

/// How soon it is tried again to reach one.
const AGAIN: Duration = Duration::from_secs(1);

/// How soon one is asked again that has refused to tell.
const LATER: Duration = Duration::from_secs(4);

/// How long the one who draws may take to leave; it may wait for a terminal that nobody reads from.
const LEAVE: Duration = Duration::from_secs(2);

/// Tells of signals.
///
/// # Errors
/// If they cannot be caught.
pub fn hear_signals(ear: Ear) -> io::Result<()> {
    let caught = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGCONT, SIGWINCH];
    let mut signals = Signals::new(caught)?;
    thread::spawn(move || {
        for signal in signals.forever() {
            let ends = ![SIGTSTP, SIGCONT, SIGWINCH].contains(&signal);
            let told = ear.try_send(Heard::Signal(signal));
            if ends {
                thread::sleep(LEAVE);
                restore_keys();
                let _ = emulate_default_handler(signal);
            } else if let Err(error) = told {
                // It is busy, and hears of it when it is not; or it has left.
                drop(error);
            }
        }
    });
    Ok(())
}

/// Tells what is typed.
pub fn hear_keys(ear: Ear) {
    thread::spawn(move || {
        let interrupts = Interrupts::leave();
        let attended = interrupts.attend();
        // Without the buffer that standard input has: what is in it cannot be waited for.
        let Ok(mut stdin) = io::stdin().as_fd().try_clone_to_owned().map(File::from) else {
            let _ = ear.send(Heard::NoInput);
            return;
        };
        let mut bytes = [0; 1_024];
        loop {
            // Standard input may be one that does not wait; somebody else's choice.
            let waited = attended.wait(Some(stdin.as_fd()), None);
            debug_assert_eq!(waited, Waited::Ready, "for ever");
            let heard = match stdin.read(&mut bytes) {
                Ok(0) => Heard::NoInput,
                Ok(length) => Heard::Bytes(bytes.get(..length).unwrap_or_default().to_vec()),
                Err(error)
                    if [io::ErrorKind::Interrupted, io::ErrorKind::WouldBlock].contains(&error.kind()) =>
                {
                    continue;
                }
                Err(_) => Heard::NoInput,
            };
            let is_end = matches!(heard, Heard::NoInput);
            if ear.send(heard).is_err() || is_end {
                return;
            }
        }
    });
}

/// Looks at the supervisor again and again.
pub struct Watcher {
    /// Where it is.
    pub target: Target,
    /// How often.
    pub interval: Duration,
    /// Processes to be looked at closely.
    pub closely: Arc<Mutex<Vec<u32>>>,
    /// What makes it look at once.
    pub nudges: Receiver<()>,
    /// Who is told.
    pub ear: Ear,
}

/// Who is told is there no more.
struct Deaf;

impl Watcher {
    /// Begins to.
    pub fn start(self) {
        thread::spawn(move || {
            let mut meter = Meter::default();
            let clock = Clock::start();
            loop {
                let interrupts = Interrupts::leave();
                let attended = interrupts.attend();
                let watched = Session::open(&self.target, &attended)
                    .and_then(|mut session| self.watch(&mut session, &mut meter, &clock));
                let why = match watched {
                    Ok(Deaf) => return,
                    Err(trouble) => News::Gone(trouble.to_string()),
                };
                if self.tell(why).is_err() || self.pause(AGAIN).is_err() {
                    return;
                }
            }
        });
    }

    fn tell(&self, news: News) -> Result<(), Deaf> {
        self.ear.send(Heard::News(news)).map_err(|_| Deaf)
    }

    fn pause(&self, time: Duration) -> Result<(), Deaf> {
        match self.nudges.recv_timeout(time) {
            Ok(()) | Err(RecvTimeoutError::Timeout) => Ok(()),
            Err(RecvTimeoutError::Disconnected) => Err(Deaf),
        }
    }

    /// Looks until the session is at its end.
    fn watch(&self, session: &mut Session<'_>, meter: &mut Meter, clock: &Clock) -> Result<Deaf, Trouble> {
        loop {
            session.begin("status", &[]);
            let answer = loop {
                match session.next(Some(QUIET))? {
                    Some(reply) => break reply.envelope,
                    None => {
                        let doing = session.doing().unwrap_or_else(|| "no line comes".to_owned());
                        if self.tell(News::Silent(doing)).is_err() {
                            return Ok(Deaf);
                        }
                    }
                }
            };
            let report = report(&answer)?;
            let is_busy =
                report.upgrade.is_some() || report.stopping.is_some() || report.healthy < report.target;
            let interval = if is_busy { self.interval.min(SOON) } else { self.interval };
            let closely = self.closely.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let pids = report.workers.iter().filter_map(|worker| worker.pid);
            let usages = meter.look(pids, &closely, clock.now());
            if self.tell(News::Report(Box::new(report), usages)).is_err() || self.pause(interval).is_err() {
                return Ok(Deaf);
            }
        }
    }
}

fn report(answer: &Envelope) -> Result<Report, Trouble> {
    if !answer.ok {
        return Err(Trouble::Refused(answer.message.clone()));
    }
    let understood = Report::from_fields(&answer.fields);
    understood.ok_or_else(|| {
        Trouble::Refused("it answers what cannot be understood: is it of another version?".into())
    })
}

/// Tells of events, as long as there is a supervisor that does.
pub fn hear_events(target: Target, ear: Ear) {
    thread::spawn(move || {
        let interrupts = Interrupts::leave();
        let attended = interrupts.attend();
        loop {
            if let Ok(mut session) = Session::open(&target, &attended) {
                session.begin("events", &["--since".to_owned(), "start".to_owned()]);
                while let Ok(Some(reply)) = session.next(None) {
                    if ear.send(Heard::News(event(&reply.envelope))).is_err() {
                        return;
                    }
                    // One that refuses says nothing more; but the next one there may know better, and may have
                    // been given this connection.
                    if !reply.envelope.wait {
                        thread::sleep(LATER);
                        break;
                    }
                }
            }
            thread::sleep(AGAIN);
        }
    });
}

fn event(line: &Envelope) -> News {
    let fields = &line.fields;
    match fields.get("event") {
        _ if !line.ok => News::NoEvents(line.message.clone()),
        Some(Value::Object(event)) => News::Event(Event {
            seq: number(event, "seq"),
            at_ms: number(event, "at_ms"),
            level: text(event, "level"),
            message: without_time(&line.message).to_owned(),
        }),
        _ => News::Missed(number(fields, "lost")),
    }
}

/// The message without the time at its head, which the event has, too.
fn without_time(message: &str) -> &str {
    let is_time = |word: &str| word.ends_with('Z') && word.starts_with(|char: char| char.is_ascii_digit());
    message.split_once(' ').filter(|(word, _)| is_time(word)).map_or(message, |(_, rest)| rest)
}

fn number(fields: &Object, name: &str) -> u64 {
    match fields.get(name) {
        Some(Value::Number(Number::U64(number))) => *number,
        _ => 0,
    }
}

fn text(fields: &Object, name: &str) -> String {
    match fields.get(name) {
        Some(Value::String(text)) => text.clone(),
        _ => String::new(),
    }
}

/// Tells the supervisor something over a connection of its own, and what it answers.
pub fn tell(target: Target, number: u64, words: Vec<String>, ear: Ear) {
    thread::spawn(move || {
        let name = words.first().cloned().unwrap_or_default();
        let (ok, message) = match carry_out(&target, number, &words, &ear) {
            Ok(answer) => (answer.ok, answer.message),
            Err(message) => (false, message),
        };
        // Whoever has left does not want to know.
        let _ = ear.send(Heard::News(News::Answer(number, ok, format!("{name}: {message}"))));
    });
}

fn carry_out(target: &Target, number: u64, words: &[String], ear: &Ear) -> Result<Envelope, String> {
    let order = Order::read(words)?.ok_or("there is nothing to do")?;
    let dispatch = match order {
        Order::Send(dispatch) => dispatch,
        Order::Tell(text) => return Ok(Envelope::done(text)),
    };
    let interrupts = Interrupts::leave();
    let attended = interrupts.attend();
    let mut session = Session::open(target, &attended).map_err(|trouble| trouble.to_string())?;
    session.begin(dispatch.name, &dispatch.args);
    let unknown = |trouble: Trouble| format!("{trouble}; whether it is carried out is not known");
    let mut patience = Some(target.patience.first);
    loop {
        let Some(reply) = session.next(patience).map_err(unknown)? else {
            let doing = session.doing().unwrap_or_else(|| "there is no answer".to_owned());
            return Err(format!("{doing}; whether it is carried out is not known"));
        };
        if !reply.envelope.wait {
            return Ok(reply.envelope);
        }
        patience = target.patience.next;
        let progress = News::Progress(number, format!("{}: {}", dispatch.name, reply.envelope.message));
        if ear.send(Heard::News(progress)).is_err() {
            return Ok(reply.envelope);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(line: &str) -> News {
        event(&Envelope::parse(line.as_bytes()).unwrap())
    }

    #[test]
    fn lines_of_events_are_understood_and_others_are_no_events() {
        let line = "{\"message\":\"2026-11-27T06:05:31Z up: 1 worker\",\"ok\":true,\"wait\":true,\
                    \"event\":{\"seq\":4,\"at_ms\":1764,\"level\":\"info\",\"kind\":\"up\"}}";
        let News::Event(told) = heard(line) else { panic!("no event") };
        let expected = Event { seq: 4, at_ms: 1_764, level: "info".into(), message: "up: 1 worker".into() };
        assert_eq!(told, expected);
        let lost = heard("{\"message\":\"\",\"ok\":true,\"wait\":true,\"lost\":7}");
        assert!(matches!(lost, News::Missed(7)), "{lost:?}");
        let first = heard("{\"message\":\"events of\",\"ok\":true,\"wait\":true}");
        assert!(matches!(first, News::Missed(0)), "{first:?}");
        let refused = heard("{\"message\":\"unknown command\",\"ok\":false}");
        assert!(matches!(refused, News::NoEvents(_)), "{refused:?}");
        assert_eq!(without_time("Zebra 1"), "Zebra 1");
    }
}
