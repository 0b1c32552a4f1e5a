//! Names of things. Each kind has a type of its own, so that one cannot pass for another.

use super::text::{BadText, Field, get_number, put_display};
use alloc::string::String;
use core::fmt;

macro_rules! ids {
    ($( $(#[$meta:meta])* $Name:ident($Number:ty) ),* $(,)?) => { $(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
        pub struct $Name(pub $Number);

        impl fmt::Display for $Name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl Field for $Name {
            fn put(&self, out: &mut String) {
                put_display(out, self.0);
            }

            fn get(word: &str) -> Result<Self, BadText> {
                get_number(word).map(Self)
            }
        }
    )* };
}

ids! {
    /// A worker: one process, from the decision to start it to the report of its end. Minted by the
    /// core, from 1, never used again.
    WorkerId(u64),
    /// A position that is to be filled with a worker: 0 … target − 1. `EINHORN_CHILD_INDEX`.
    SlotId(u32),
    /// One release of the program: what was captured when it was asked for. Minted by the core,
    /// from 1, strictly increasing.
    Generation(u32),
    /// A process id as the kernel gave it; it names a worker between `Spawned` and `Exited` only.
    Pid(u32),
    /// A listening socket, by its position among the `--bind` options.
    ListenerId(u32),
    /// A connection to the control socket. Minted by the shell, never used again.
    ClientId(u64),
    /// A request on such a connection. Minted by the shell, never used again.
    RequestId(u64),
    /// An error number of the operating system, as in errno(3).
    Errno(i32),
}

impl Field for super::time::Time {
    fn put(&self, out: &mut String) {
        put_display(out, self.0);
    }

    fn get(word: &str) -> Result<Self, BadText> {
        get_number(word).map(Self)
    }
}

impl Field for super::time::Millis {
    fn put(&self, out: &mut String) {
        put_display(out, self.0);
    }

    fn get(word: &str) -> Result<Self, BadText> {
        get_number(word).map(Self)
    }
}
