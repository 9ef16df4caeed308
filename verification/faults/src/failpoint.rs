//! Where a node is told to die.

use std::fmt;
use std::str::FromStr;

/// A call to the store that a node does not survive: `accept.before:17`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failpoint {
    /// Which operation.
    pub operation: Operation,
    /// At which moment of it.
    pub moment: Moment,
    /// At the how manieth call of it, from 1.
    pub nth: u32,
}

/// What is asked of the store.
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
    /// Before anything is sent.
    Before,
    /// While the store is at it.
    Within,
    /// Once the store has answered.
    After,
}

impl Operation {
    /// All of them.
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
    /// All of them.
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
