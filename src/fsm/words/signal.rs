//! Signals by name, and the ways to shut down.

use super::text::words;

words! {
    /// A signal. Names, not numbers: numbers differ between systems.
    pub enum Signal {
        /// Hang-up.
        "HUP" => Hup,
        /// Interrupt.
        "INT" => Int,
        /// Quit.
        "QUIT" => Quit,
        /// First one for programs to give a meaning.
        "USR1" => Usr1,
        /// Second one for programs to give a meaning.
        "USR2" => Usr2,
        /// Terminate.
        "TERM" => Term,
        /// Kill; cannot be caught.
        "KILL" => Kill,
        /// Stop; cannot be caught.
        "STOP" => Stop,
        /// Stop from the terminal.
        "TSTP" => Tstp,
        /// Continue.
        "CONT" => Cont,
        /// Background read from the terminal.
        "TTIN" => Ttin,
        /// Background write to the terminal.
        "TTOU" => Ttou,
        /// Window size changed.
        "WINCH" => Winch,
        /// Alarm clock.
        "ALRM" => Alrm,
        /// Abort.
        "ABRT" => Abrt,
        /// Pipe without a reader.
        "PIPE" => Pipe,
    }
}

impl Signal {
    /// Reads a name as people write it: any case, with or without `SIG`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let short = match name.get(..3) {
            Some(prefix) if prefix.eq_ignore_ascii_case("SIG") => name.get(3..).unwrap_or_default(),
            _ => name,
        };
        Self::ALL.iter().copied().find(|signal| signal.word().eq_ignore_ascii_case(short))
    }
}

words! {
    /// How to stop everything; each is harsher than the one before.
    pub enum Shutdown {
        /// The stop signal, the grace period, then TERM, then KILL.
        "graceful" => Graceful,
        /// TERM, the grace period, then KILL.
        "fast" => Fast,
        /// TERM, five seconds, then KILL.
        "quick" => Quick,
        /// KILL at once.
        "kill" => Kill,
    }
}

impl Shutdown {
    /// What a signal to the supervisor (or the argument of `die`) asks for, if it asks for an end.
    #[must_use]
    pub fn from_signal(signal: Signal) -> Option<Self> {
        match signal {
            Signal::Int | Signal::Usr2 => Some(Self::Graceful),
            Signal::Term => Some(Self::Fast),
            Signal::Quit => Some(Self::Quick),
            Signal::Kill => Some(Self::Kill),
            Signal::Hup
            | Signal::Usr1
            | Signal::Stop
            | Signal::Tstp
            | Signal::Cont
            | Signal::Ttin
            | Signal::Ttou
            | Signal::Winch
            | Signal::Alrm
            | Signal::Abrt
            | Signal::Pipe => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_people_write_them() {
        for name in ["TERM", "term", "SIGTERM", "SigTerm"] {
            assert_eq!(Signal::from_name(name), Some(Signal::Term), "{name}");
        }
        for name in ["", "SIG", "TERMINATE", "15", "é"] {
            assert_eq!(Signal::from_name(name), None, "{name}");
        }
    }
}
