//! The journal: what whoever takes over from this supervisor reads. Specified in `fsm-spec/handover.md`; the text is
//! [`fsm::journal`](crate::fsm::journal)'s, the shell's lines in it are [`kept`](super::kept)'s.
//!
//! It is written where a crash leaves it, by copying and no system call. In front is a head of a few words; then the
//! words of starts, which are [`process`](super::process)'s; then two halves for the text, of which one counts.

use super::{
    deposit::Deposit,
    kept::Kept,
    memory::{Memory, START, STARTS},
};
use crate::fsm::{
    Supervisor,
    event::Event,
    id::{ClientId, RequestId},
    journal::{write_event, write_kept},
};
use log::{info, warn};
use nix::errno::Errno;
use std::{
    cell::RefCell,
    num::NonZeroUsize,
    os::fd::{OwnedFd, RawFd},
    rc::Rc,
    sync::atomic::Ordering,
};

/// The version of all this, in the head.
pub(crate) const VERSION: u64 = 1;

/// The variable that tells the next program where the journal is: our process, a colon, and the descriptor. It is never
/// passed on to workers.
pub(crate) const HANDOVER: &str = "EINHYRNINGSINS_HANDOVER";

/// What it begins with.
const MAGIC: u64 = u64::from_le_bytes(*b"einhyrnj");

/// The words of the head, by their offsets.
pub(super) mod head {
    pub(crate) const MAGIC: usize = 0;
    pub(crate) const VERSION: usize = 8;
    /// Which half counts, in the highest bit, and how long its text is. Written last.
    pub(crate) const CURRENT: usize = 16;
    /// How many actions of the last event were carried out; and, in the highest bit, whether the machine has taken it in.
    pub(crate) const DONE: usize = 24;
    /// When the clock began, in nanoseconds of the system's monotonic clock.
    pub(crate) const ORIGIN: usize = 32;
    /// The descriptor of the program from before, and one; until the one that takes over has done so. Whether that could
    /// not: then the reason is where a panic's words are.
    pub(crate) const BEFORE: usize = 48;
    pub(crate) const RETURNED: usize = 56;
    /// The request that was answered last: what was noted to be under way is done.
    pub(crate) const ANSWERED: usize = 1168;
    /// When the last crashes were, in nanoseconds.
    pub(crate) const CRASHES: [usize; 3] = [64, 72, 80];
    /// Where the journal ended at the last crash, how much was done of that, and how often in a row it was so.
    pub(crate) const PLACE: usize = 88;
    pub(crate) const PLACE_DONE: usize = 1176;
    /// The process of the keeper that was made last.
    pub(crate) const KEEPER: usize = 1184;
    pub(crate) const TIMES: usize = 96;
    /// What the last crash was: the signal, the address it was about, where the program was, who sent it.
    pub(crate) const SIGNAL: usize = 104;
    pub(crate) const ADDRESS: usize = 112;
    pub(crate) const AT: usize = 120;
    pub(crate) const SENDER: usize = 128;
    /// What a panic said, and how long that is.
    pub(crate) const WORDS_LENGTH: usize = 136;
    pub(crate) const WORDS: usize = 144;
    pub(crate) const WORDS_MOST: usize = 1024;
}

/// Where the words of starts begin.
pub(crate) const STARTS_AT: usize = 4096;
/// Where the halves begin, and how long each may be: enough for the most workers there may be, several times over.
const TEXT_AT: usize = STARTS_AT + STARTS * START;
const HALF: usize = 16 << 20;
const SIZE: NonZeroUsize = NonZeroUsize::new(TEXT_AT + 2 * HALF).unwrap();

/// How much text there may be since the snapshot before it is compacted, at the least.
const GROWTH: usize = 32 * 1024;

/// How much is not written before it is tried again where there was no room.
const AGAIN: usize = 100;

/// For how much text memory is reserved at a time.
const CHUNK: usize = 16 * 1024;

const UPPER: u64 = 1 << 63;

/// The journal, for all who write in it.
#[derive(Clone, Debug)]
pub(crate) struct Journal(Rc<RefCell<Book>>);

#[derive(Debug)]
struct Book {
    memory: Rc<Memory>,
    /// The half that counts, how much is written there, how much of that was the snapshot, and for how much there is
    /// memory.
    half: usize,
    length: usize,
    snapshot: usize,
    reserved: usize,
    line: String,
    /// Why nothing is written any more, and how much was not since then.
    trouble: Option<String>,
    unwritten: usize,
    /// Whether that was told.
    told: bool,
    /// Where the descriptors are put that are named here.
    deposit: Option<Deposit>,
}

/// What was found in a journal.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) text: String,
    /// How many actions of the last event were carried out, and whether the machine had taken that in.
    pub(crate) done: usize,
    pub(crate) is_taken_in: bool,
    /// When the clock began.
    pub(crate) origin: u64,
    pub(crate) memory: Rc<Memory>,
}

impl Journal {
    /// An empty one, for a clock that began at `origin`.
    ///
    /// # Errors
    /// If there is no memory of any kind.
    pub(crate) fn new(origin: u64) -> Result<Self, Errno> {
        let (memory, why) = Memory::new(SIZE)?;
        let trouble = why.map(|errno| format!("there is no memory for a journal: {}", errno.desc()));
        let journal = Self::of(Rc::new(memory), trouble);
        for (at, value) in [(head::MAGIC, MAGIC), (head::VERSION, VERSION), (head::ORIGIN, origin)] {
            set(&journal.0.borrow().memory, at, value);
        }
        Ok(journal)
    }

    /// The one that was found. What is written goes on behind what is there.
    pub(crate) fn found(memory: Rc<Memory>) -> Self {
        let current = word(&memory, head::CURRENT);
        let journal = Self::of(memory, None);
        {
            let mut book = journal.0.borrow_mut();
            book.half = usize::from(current & UPPER != 0);
            book.length = usize::try_from(current & !UPPER).unwrap_or(HALF);
            (book.snapshot, book.reserved) = (book.length, book.length);
        }
        journal
    }

    fn of(memory: Rc<Memory>, trouble: Option<String>) -> Self {
        let book = Book {
            memory,
            half: 0,
            length: 0,
            snapshot: 0,
            reserved: 0,
            line: String::new(),
            trouble,
            unwritten: 0,
            told: false,
            deposit: None,
        };
        Self(Rc::new(RefCell::new(book)))
    }

    pub(crate) fn memory(&self) -> Rc<Memory> {
        self.0.borrow().memory.clone()
    }

    /// Why nobody could take over, if that is so.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.0.borrow().trouble.clone()
    }

    /// Writes down what has happened, before anything is done about it.
    pub(crate) fn event(&self, event: &Event) {
        let mut book = self.0.borrow_mut();
        book.write(|line| write_event(line, event), true);
    }

    /// The machine has taken the last event in, and its actions follow.
    pub(crate) fn taken_in(&self) {
        set(&self.0.borrow().memory, head::DONE, UPPER);
    }

    /// One more action of the last event was carried out.
    pub(crate) fn performed(&self) {
        if let Some(done) = self.0.borrow().memory.word(head::DONE) {
            done.fetch_add(1, Ordering::Release);
        }
    }

    /// A request was answered, and whoever asked has been sent that.
    pub(crate) fn answered(&self, request: RequestId) {
        set(&self.0.borrow().memory, head::ANSWERED, request.0);
    }

    /// Writes down something that the shell keeps.
    pub(crate) fn keep(&self, kept: &Kept) {
        let mut book = self.0.borrow_mut();
        if let Some(deposit) = &mut book.deposit {
            deposit.note(kept);
        }
        book.write(|line| write_kept(line, kept), false);
    }

    /// From here on, descriptors are put there.
    pub(crate) fn deposit_in(&self, deposit: Option<Deposit>) {
        self.0.borrow_mut().deposit = deposit;
    }

    /// Nobody is to take over any more.
    pub(crate) fn forget_deposit(&self) {
        if let Some(mut deposit) = self.0.borrow_mut().deposit.take() {
            deposit.take_all();
        }
    }

    /// Sees to it that a client has its answer from whoever takes over after a kill. Answers whether anybody would.
    pub(crate) fn entrust(&self, client: ClientId, fd: RawFd) -> bool {
        let mut book = self.0.borrow_mut();
        book.deposit.as_mut().map(|deposit| deposit.entrust(client, fd)).is_some()
    }

    /// Whether what is to be put away cannot be.
    pub(crate) fn deposit_has_failed(&self) -> bool {
        self.0.borrow().deposit.as_ref().is_some_and(Deposit::has_failed)
    }

    /// What is executed if another program, which is to take over, cannot: what is behind that descriptor.
    pub(crate) fn way_back(&self, program: Option<RawFd>) {
        let program = program.and_then(|fd| u64::try_from(fd).ok()).map_or(0, |fd| fd.saturating_add(1));
        set(&self.0.borrow().memory, head::BEFORE, program);
    }

    /// Whether it has grown so much that it is to be compacted.
    pub(crate) fn is_long(&self) -> bool {
        let book = self.0.borrow();
        if book.trouble.is_some() {
            return book.unwritten > AGAIN && book.memory.file().is_some();
        }
        book.length.saturating_sub(book.snapshot) > GROWTH.max(book.snapshot)
    }

    /// Begins anew with the machine as it is, and all that the shell keeps. No event may be under way.
    pub(crate) fn compact(&self, supervisor: &Supervisor, kept: impl FnOnce(&mut dyn FnMut(&Kept))) {
        let mut book = self.0.borrow_mut();
        if book.memory.file().is_none() {
            return;
        }
        (book.trouble, book.unwritten) = (None, 0);
        let before = (book.half, book.length);
        (book.half, book.length, book.reserved) = (1 - book.half, 0, 0);
        supervisor.save(|lines| book.append(lines));
        kept(&mut |kept| {
            book.append_line(|line| write_kept(line, kept));
        });
        if book.trouble.is_some() {
            // Neither half counts, since neither is the whole truth.
            (book.half, book.length) = before;
            return;
        }
        if std::mem::take(&mut book.told) {
            info!("there is room in the journal again");
        }
        set(&book.memory, head::DONE, 0);
        book.publish();
        book.snapshot = book.length;
        if before.1 > CHUNK {
            book.memory.release(TEXT_AT + before.0 * HALF, HALF);
        }
    }

    /// A journal of its own, with nothing but that in it: to be looked at by another program.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) fn copy(
        &self,
        supervisor: &Supervisor,
        kept: impl FnOnce(&mut dyn FnMut(&Kept)),
    ) -> Result<OwnedFd, String> {
        let origin = word(&self.memory(), head::ORIGIN);
        let copy = Self::new(origin).map_err(|errno| errno.desc().to_owned())?;
        copy.compact(supervisor, kept);
        let book = copy.0.borrow();
        match (&book.trouble, book.memory.file()) {
            (None, Some(file)) => file.try_clone_to_owned().map_err(|error| error.to_string()),
            (trouble, _) => Err(trouble.clone().unwrap_or_default()),
        }
    }
}

impl Book {
    fn write(&mut self, text: impl FnOnce(&mut String), is_event: bool) {
        if self.trouble.is_some() {
            self.unwritten = self.unwritten.saturating_add(1);
            return;
        }
        self.append_line(text);
        if self.trouble.is_none() {
            if is_event {
                set(&self.memory, head::DONE, 0);
            }
            self.publish();
        }
    }

    /// By way of memory that serves every line.
    fn append_line(&mut self, text: impl FnOnce(&mut String)) {
        let mut line = std::mem::take(&mut self.line);
        line.clear();
        text(&mut line);
        self.append(&line);
        self.line = line;
    }

    fn append(&mut self, text: &str) {
        if self.trouble.is_some() {
            return;
        }
        let (begin, end) = (TEXT_AT + self.half * HALF, self.length.saturating_add(text.len()));
        let reserved = if end > self.reserved {
            let more = (end - self.reserved).next_multiple_of(CHUNK);
            self.memory.reserve(begin + self.reserved, more).map(|()| self.reserved += more)
        } else {
            Ok(())
        };
        if let Err(errno) = reserved.and(if end > HALF { Err(Errno::EFBIG) } else { Ok(()) }) {
            let why = format!("there is no room in the journal: {}", errno.desc());
            if !self.told {
                warn!("{why}; until there is, nobody can take over from this supervisor (reexec)");
            }
            self.told = true;
            // What is there is not the whole truth from here on.
            set(&self.memory, head::CURRENT, 0);
            self.trouble = Some(why);
            return;
        }
        self.memory.put(begin + self.length, text.as_bytes());
        self.length = end;
    }

    fn publish(&self) {
        let half = if self.half == 1 { UPPER } else { 0 };
        let length = u64::try_from(self.length).unwrap_or(0);
        set(&self.memory, head::CURRENT, half | length);
    }
}

/// Reads the journal that somebody has left behind.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn read(file: OwnedFd) -> Result<Found, String> {
    let memory = Memory::left(file, SIZE).map_err(|errno| {
        if [Errno::EINVAL, Errno::ENODEV, Errno::EACCES].contains(&errno) {
            "it is no journal".to_owned()
        } else {
            format!("it cannot be read: {}", errno.desc())
        }
    })?;
    read_in(Rc::new(memory))
}

/// Reads the journal that is in that memory.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn read_in(memory: Rc<Memory>) -> Result<Found, String> {
    if word(&memory, head::MAGIC) != MAGIC {
        return Err("it is no journal".into());
    }
    match word(&memory, head::VERSION) {
        1..=VERSION => {}
        other => return Err(format!("its format is version {other}; accepted: 1 to {VERSION}")),
    }
    let current = word(&memory, head::CURRENT);
    let length = usize::try_from(current & !UPPER).ok().filter(|length| (1..=HALF).contains(length));
    let begin = TEXT_AT + if current & UPPER == 0 { 0 } else { HALF };
    let text = length.and_then(|length| memory.get(begin, length)).ok_or("there is nothing in it")?;
    let text = String::from_utf8(text).map_err(|_| "it is damaged: not UTF-8")?;
    let done = word(&memory, head::DONE);
    let is_taken_in = done & UPPER != 0;
    let done = usize::try_from(done & !UPPER).unwrap_or(usize::MAX);
    Ok(Found { text, done, is_taken_in, origin: word(&memory, head::ORIGIN), memory })
}

/// Leaves words for whoever takes over.
pub(super) fn leave_words(memory: &Memory, words: &str) {
    let kept = words.as_bytes().get(..words.len().min(head::WORDS_MOST)).unwrap_or_default();
    memory.put(head::WORDS, kept);
    set(memory, head::WORDS_LENGTH, u64::try_from(kept.len()).unwrap_or(0));
}

/// Takes the words that were left, if there are any.
pub(super) fn take_words(memory: &Memory) -> Option<String> {
    let length = usize::try_from(word(memory, head::WORDS_LENGTH)).unwrap_or(0).min(head::WORDS_MOST);
    set(memory, head::WORDS_LENGTH, 0);
    let words = memory.get(head::WORDS, length).filter(|_| length > 0)?;
    Some(String::from_utf8_lossy(&words).into_owned())
}

pub(super) fn word(memory: &Memory, at: usize) -> u64 {
    memory.word(at).map_or(0, |word| word.load(Ordering::Acquire))
}

pub(super) fn set(memory: &Memory, at: usize, value: u64) {
    if let Some(word) = memory.word(at) {
        word.store(value, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsm::{
        config::Config,
        event::EventKind,
        journal::{Until, resume},
        time::Time,
    };
    use nix::sys::memfd::{MFdFlags, memfd_create};
    use nix::unistd::{ftruncate, write};

    fn woke(at: u64) -> Event {
        Event { at: Time(at), kind: EventKind::Woke }
    }

    fn reread(journal: &Journal) -> Result<Found, String> {
        read(journal.memory().file().unwrap().try_clone_to_owned().unwrap())
    }

    #[test]
    fn whatever_was_written_is_read_and_compacting_changes_nothing_but_the_length() {
        let mut machine = Supervisor::new(Config::default());
        let journal = Journal::new(7).unwrap();
        journal.compact(&machine, |_| {});
        let mut tell = |event: Event| {
            journal.event(&event);
            machine.step(event);
            journal.performed();
        };
        tell(Event { at: Time(0), kind: EventKind::Start });
        for at in 1..4_000 {
            tell(woke(at));
        }
        assert!(journal.is_long());
        let long = reread(&journal).unwrap();
        assert_eq!((long.done, long.origin), (1, 7));
        journal.compact(&machine, |keep| keep(&Kept::Level { level: super::super::kept::Level::Debug }));
        let short = reread(&journal).unwrap();
        assert!(!journal.is_long() && short.text.len() < 1_000 && long.text.len() > GROWTH);
        let resumed = [&long.text, &short.text].map(|text| resume(text, Until::Last).unwrap());
        let [one, other] = &resumed;
        assert_eq!(one.supervisor.snapshot(), other.supervisor.snapshot());
        assert_eq!(one.supervisor.snapshot(), machine.snapshot());
        assert_eq!(other.kept, ["level level=debug"]);
    }

    #[test]
    fn a_copy_is_for_itself() {
        let machine = Supervisor::new(Config::default());
        let journal = Journal::new(7).unwrap();
        journal.compact(&machine, |_| {});
        let copy = journal.copy(&machine, |_| {}).unwrap();
        journal.event(&woke(3));
        let copy = read(copy).unwrap();
        assert_eq!((copy.text, copy.origin), (machine.snapshot(), 7));
    }

    #[test]
    fn what_is_no_journal_or_a_newer_one_is_refused() {
        let journal = Journal::new(7).unwrap();
        assert_eq!(reread(&journal).unwrap_err(), "there is nothing in it");
        journal.compact(&Supervisor::new(Config::default()), |_| {});
        let memory = journal.memory();
        set(&memory, head::CURRENT, u64::MAX);
        assert_eq!(reread(&journal).unwrap_err(), "there is nothing in it");
        set(&memory, head::CURRENT, 1 << 20);
        assert!(resume(&reread(&journal).unwrap().text, Until::Last).is_err());
        set(&memory, head::VERSION, VERSION + 1);
        assert_eq!(reread(&journal).unwrap_err(), "its format is version 2; accepted: 1 to 1");
        let file = memfd_create("x", MFdFlags::MFD_CLOEXEC).unwrap();
        write(&file, b"hello").unwrap();
        assert_eq!(read(file.try_clone().unwrap()).unwrap_err(), "it is no journal");
        ftruncate(&file, SIZE.get() as i64).unwrap();
        assert_eq!(read(file).unwrap_err(), "it is no journal");
        assert_eq!(read(std::fs::File::open("/dev/null").unwrap().into()).unwrap_err(), "it is no journal");
    }
}
