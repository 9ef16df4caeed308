//! Failpoints: where a node is told to die.

use std::fmt;
use std::str::FromStr;

/// A call to the store during which a node dies, such as `accept.before:17`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failpoint {
    /// The operation.
    pub operation: Operation,
    /// The moment of the operation.
    pub moment: Moment,
    /// The number of the call among those of the operation, from 1.
    pub nth: u32,
}

/// An operation of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// `Store::accept`.
    Accept,
    /// `Scheduler::claim`.
    Claim,
    /// `Scheduler::extend`.
    Extend,
    /// `Scheduler::settle`.
    Settle,
    /// `PgStore::settle_in`, with the commit of a handler's own transaction.
    Book,
}

/// When the process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Before the call is sent.
    Before,
    /// While the store executes the call.
    Within,
    /// After the store has answered.
    After,
}

impl Operation {
    /// All operations.
    pub const ALL: [Self; 5] = [
        Self::Accept,
        Self::Claim,
        Self::Extend,
        Self::Settle,
        Self::Book,
    ];

    const fn word(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Claim => "claim",
            Self::Extend => "extend",
            Self::Settle => "settle",
            Self::Book => "book",
        }
    }
}

impl Moment {
    /// All moments.
    pub const ALL: [Self; 3] = [Self::Before, Self::Within, Self::After];

    const fn word(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::Within => "within",
            Self::After => "after",
        }
    }
}

impl fmt::Display for Failpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (operation, moment) = (self.operation.word(), self.moment.word());
        write!(f, "{operation}.{moment}:{}", self.nth)
    }
}

impl FromStr for Failpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = || {
            let (place, nth) = text.split_once(':')?;
            let (operation, moment) = place.split_once('.')?;
            Some(Self {
                operation: Operation::ALL
                    .into_iter()
                    .find(|it| it.word() == operation)?,
                moment: Moment::ALL.into_iter().find(|it| it.word() == moment)?,
                nth: nth.parse().ok()?,
            })
        };
        read().ok_or_else(|| "expected something like accept.before:17".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failpoints_are_read_as_they_are_written() {
        for operation in Operation::ALL {
            for moment in Moment::ALL {
                let failpoint = Failpoint {
                    operation,
                    moment,
                    nth: 3,
                };
                assert_eq!(failpoint.to_string().parse(), Ok(failpoint));
            }
        }
        assert!("accept:1".parse::<Failpoint>().is_err());
    }
}
