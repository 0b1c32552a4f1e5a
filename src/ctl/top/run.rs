//! Drawing, and everything that happens meanwhile.

use super::{
    draw::{draw, fit},
    keys::{Keys, PATIENCE},
    model::{Effect, Link, Model},
    screen::Screen,
    sources::{Heard, Watcher, hear_events, hear_keys, hear_signals, tell},
};
use crate::{
    ctl::{clock::Clock, connection::Target, outcome::Outcome},
    fsm::time::Millis,
    protocol::words::io_error,
};
use nix::libc::{SIGCONT, SIGINT, SIGTSTP, SIGWINCH};
use ratatui::buffer::Buffer;
use signal_hook::low_level::emulate_default_handler;
use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel},
    },
    time::Duration,
};

/// How much may wait for whoever draws.
const WAITING: usize = 64;

/// How many orders are carried out at once.
const AT_ONCE: usize = 8;

/// How often what has passed since is told anew.
const TICK: Duration = Duration::from_secs(1);

/// How the view ends.
enum End {
    Left,
    Signal(i32),
    NoInput,
}

/// Whoever draws.
struct View {
    target: Target,
    model: Model,
    keys: Keys,
    screen: Screen,
    clock: Clock,
    ear: SyncSender<Heard>,
    nudge: Sender<()>,
    closely: Arc<Mutex<Vec<u32>>>,
    orders: u64,
}

/// Shows the view until somebody leaves it.
///
/// # Errors
/// What is wrong with the terminal.
pub(super) fn run(target: &Target, Millis(interval): Millis) -> Result<Outcome, String> {
    let (ear, heard) = sync_channel(WAITING);
    let (nudge, nudges) = channel();
    let closely = Arc::new(Mutex::new(Vec::new()));
    let words = |error: io::Error| io_error(&error);
    let screen = Screen::take().map_err(words)?;
    hear_signals(ear.clone()).map_err(words)?;
    hear_keys(ear.clone());
    hear_events(target.clone(), ear.clone());
    let watcher = Watcher {
        target: target.clone(),
        interval: Duration::from_millis(interval),
        closely: Arc::clone(&closely),
        nudges,
        ear: ear.clone(),
    };
    watcher.start();
    let mut view = View {
        target: target.clone(),
        model: Model::new(),
        keys: Keys::default(),
        screen,
        clock: Clock::start(),
        ear,
        nudge,
        closely,
        orders: 0,
    };
    let end = view.show(&heard);
    drop(view);
    match end.map_err(words)? {
        End::Left => Ok(Outcome::Done),
        End::NoInput => Err("nothing comes from it any more".to_owned()),
        End::Signal(SIGINT) => Ok(Outcome::Interrupted),
        End::Signal(signal) => {
            // As it would have been without a view.
            emulate_default_handler(signal).map_err(words)?;
            Ok(Outcome::Failed)
        }
    }
}

impl View {
    fn show(&mut self, heard: &Receiver<Heard>) -> io::Result<End> {
        loop {
            self.draw()?;
            let mut next = match heard.recv_timeout(self.patience()) {
                Ok(heard) => Some(heard),
                Err(RecvTimeoutError::Timeout) if self.keys.is_amid() => {
                    if let Some(key) = self.keys.give_up()
                        && let Some(end) = self.press(key)?
                    {
                        return Ok(end);
                    }
                    None
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => None,
            };
            // All that has come meanwhile is drawn at once; but it is drawn, however much comes.
            for _ in 0..WAITING {
                let Some(heard_now) = next.take() else { break };
                if let Some(end) = self.take(heard_now)? {
                    return Ok(end);
                }
                next = heard.try_recv().ok();
            }
        }
    }

    fn patience(&self) -> Duration {
        match self.model.link {
            _ if self.keys.is_amid() => PATIENCE,
            Link::Lost(..) => TICK,
            Link::Live => TICK * 60,
        }
    }

    fn draw(&mut self) -> io::Result<()> {
        let area = self.screen.area();
        let now = self.clock.now();
        fit(&mut self.model, now, area);
        let mut buffer = Buffer::empty(area);
        draw(&self.model, self.screen.look, now, area, &mut buffer);
        self.screen.show(buffer)?;
        *self.closely.lock().unwrap_or_else(PoisonError::into_inner) = self.model.on_screen();
        Ok(())
    }

    fn take(&mut self, heard: Heard) -> io::Result<Option<End>> {
        match heard {
            Heard::News(news) => {
                let is_answer = matches!(news, super::model::News::Answer(..));
                self.model.hear(news, self.clock.now());
                if is_answer {
                    // Whoever has gone looks no more.
                    let _ = self.nudge.send(());
                }
            }
            Heard::Bytes(bytes) => {
                for key in self.keys.take(&bytes) {
                    if let Some(end) = self.press(key)? {
                        return Ok(Some(end));
                    }
                }
            }
            Heard::NoInput => return Ok(Some(End::NoInput)),
            // The size is looked at whenever something is drawn.
            Heard::Signal(SIGWINCH) => {}
            Heard::Signal(SIGCONT) => self.screen.enter()?,
            Heard::Signal(SIGTSTP) => self.suspend()?,
            Heard::Signal(signal) => return Ok(Some(End::Signal(signal))),
        }
        Ok(None)
    }

    fn press(&mut self, key: super::keys::Key) -> io::Result<Option<End>> {
        match self.model.press(key) {
            None => {}
            Some(Effect::Quit) => return Ok(Some(End::Left)),
            Some(Effect::Suspend) => self.suspend()?,
            Some(Effect::Redraw) => self.screen.forget()?,
            Some(Effect::Tell(words)) => self.tell(words),
        }
        Ok(None)
    }

    fn suspend(&mut self) -> io::Result<()> {
        if !self.screen.suspend()? {
            self.model.say(false, "there is no shell that could continue it");
        }
        Ok(())
    }

    fn tell(&mut self, words: Vec<String>) {
        if self.model.doing.len() >= AT_ONCE {
            return self.model.say(false, "so much is being done already: wait for an answer");
        }
        self.orders += 1;
        self.model.begin(self.orders, &words);
        tell(self.target.clone(), self.orders, words, self.ear.clone());
    }
}
