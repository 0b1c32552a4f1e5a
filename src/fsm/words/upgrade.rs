//! What an upgrade is asked to be like, and how far it is.

use super::{
    event::Strategy,
    text::{record, words},
    time::Millis,
};

record! {
    /// What an upgrade was asked to be like.
    #[derive(Copy)]
    pub struct Terms {
        /// In which order workers are replaced.
        pub strategy: Strategy,
        /// How many new workers go ahead of the others; 0 if none do.
        pub canary: u32,
        /// How long new workers must stay healthy before they are trusted.
        pub soak: Millis,
        /// How long it may take until the new generation is trusted, if that is bounded.
        pub timeout: Option<Millis>,
    }
}

words! {
    /// How far an upgrade is.
    pub enum Stage {
        /// None is under way. What an earlier one could not restore is brought back when possible.
        "settled" => Settled,
        /// The first few slots are replaced.
        "canary" => Canary,
        /// They must stay healthy for a while.
        "canary-soak" => CanarySoak,
        /// All the others are replaced.
        "spread" => Spread,
        /// All of them must stay healthy for a while.
        "probation" => Probation,
        /// The new generation is trusted; what is left of the old one goes.
        "proven" => Proven,
        /// The new generation is taken back.
        "back" => Back,
    }
}

impl Stage {
    /// Whether the new generation is the wanted one.
    #[must_use]
    pub fn is_forward(self) -> bool {
        !matches!(self, Self::Settled | Self::Back)
    }

    /// Whether time alone leads on from here, unless somebody dies.
    #[must_use]
    pub fn is_trial(self) -> bool {
        matches!(self, Self::CanarySoak | Self::Probation)
    }

    /// What comes next when all goes well.
    #[must_use]
    pub fn next(self, soak: Millis) -> Self {
        match self {
            Self::Canary if soak > Millis(0) => Self::CanarySoak,
            Self::Canary | Self::CanarySoak => Self::Spread,
            Self::Spread if soak > Millis(0) => Self::Probation,
            Self::Spread | Self::Probation | Self::Proven => Self::Proven,
            Self::Settled | Self::Back => Self::Settled,
        }
    }
}
