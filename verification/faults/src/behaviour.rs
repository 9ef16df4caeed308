//! What the handler does with an event, which the event's key decides.

/// What the handler does with an event. The first word of the key names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Behaviour {
    /// The handler works for some milliseconds.
    Well,
    /// The handler does its work and settles the event in one transaction.
    Booked,
    /// The handler works for longer than a lease.
    Long,
    /// The handler fails at the first attempt.
    Once,
    /// The handler rejects the event.
    Reject,
    /// The handler kills its process.
    Kill,
    /// The handler never returns.
    Hang,
    /// The handler panics.
    Panic,
}

/// The reason with which an event with [`Behaviour::Reject`] fails.
pub const REJECTED: &str = "told to reject";

/// The panic message of an event with [`Behaviour::Panic`].
pub const PANIC: &str = "told to panic";

impl Behaviour {
    /// All behaviours.
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

    /// Returns the key of event `number`.
    pub fn key(self, number: u64) -> String {
        format!("{}-{number:07}", self.word())
    }

    /// Returns what the event of `key` does: [`Behaviour::Well`] if the key does not say.
    pub fn of(key: &str) -> Self {
        let word = key.split('-').next();
        Self::ALL
            .into_iter()
            .find(|it| Some(it.word()) == word)
            .unwrap_or(Self::Well)
    }

    /// Returns whether an event with this behaviour ends as FAILED.
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
    fn keys_select_the_behaviour() {
        for behaviour in Behaviour::ALL {
            assert_eq!(Behaviour::of(&behaviour.key(7)), behaviour);
        }
        assert_eq!(Behaviour::of("other"), Behaviour::Well);
    }
}
