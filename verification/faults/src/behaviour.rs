//! What the handler does with an event, as its key says.

/// What becomes of an event in the handler; the first word of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Behaviour {
    /// Works for some milliseconds.
    Well,
    /// Does its work and settles it in one transaction.
    Booked,
    /// Works for longer than a lease.
    Long,
    /// Fails the first time.
    Once,
    /// Rejects it for good.
    Reject,
    /// Kills its process.
    Kill,
    /// Never returns.
    Hang,
    /// Panics.
    Panic,
}

/// Why an event with [`Behaviour::Reject`] fails.
pub const REJECTED: &str = "told to reject";

/// What an event with [`Behaviour::Panic`] says.
pub const PANIC: &str = "told to panic";

impl Behaviour {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Well,
        Self::Booked,
        Self::Long,
        Self::Once,
        Self::Reject,
        Self::Kill,
        Self::Hang,
        Self::Panic,
    ];

    /// The key of event `number`.
    pub fn key(self, number: u64) -> String {
        format!("{}-{number:07}", self.word())
    }

    /// What the event of `key` does. Keys of others do well.
    pub fn of(key: &str) -> Self {
        let word = key.split('-').next();
        Self::ALL
            .into_iter()
            .find(|it| Some(it.word()) == word)
            .unwrap_or(Self::Well)
    }

    /// Whether such an event ends as FAILED.
    pub const fn fails(self) -> bool {
        matches!(self, Self::Reject | Self::Kill | Self::Hang | Self::Panic)
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Well => "well",
            Self::Booked => "booked",
            Self::Long => "long",
            Self::Once => "once",
            Self::Reject => "reject",
            Self::Kill => "kill",
            Self::Hang => "hang",
            Self::Panic => "panic",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_say_what_happens() {
        for behaviour in Behaviour::ALL {
            assert_eq!(Behaviour::of(&behaviour.key(7)), behaviour);
        }
        assert_eq!(Behaviour::of("other"), Behaviour::Well);
    }
}
