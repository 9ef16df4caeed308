//! Handlers that succeed or misbehave, as the seed decides.

use std::future::pending;
use std::sync::Arc;

use tokio::time::sleep;
use webhook_core::{
    Event, EventRef, Handled, Handler, HandlerError, Kind, Lease, Outcome, Payload, Scheduler,
    Settled, Settlement,
};

use crate::dice::{Dice, digest, hash};
use crate::history::{End, Fact, History, Life, Part};
use crate::time::ticks;
use crate::wire::{Faulty, Wire};

/// The handlers of one worker.
pub(crate) struct Script {
    pub(crate) wire: Arc<Wire>,
    pub(crate) history: History,
    pub(crate) life: Life,
    pub(crate) kind: Kind,
    pub(crate) seed: u64,
    /// The probability that an attempt goes wrong.
    pub(crate) badly: f64,
}

/// What an attempt does when its duration has passed.
enum Act {
    End(End),
    Hang,
    /// Panics when it is dropped, which happens outside the handler when it times out.
    HangAndPanic,
    KillProcess,
}

impl<P: Payload> Handler<P> for Script {
    async fn handle(&self, event: Event<P>) -> Result<Handled, HandlerError> {
        let lease = event.lease;
        let event = EventRef {
            kind: self.kind.clone(),
            key: event.key,
        };
        let mut dice = self.dice(&event, lease);
        let running = Running::begin(self, event, lease);
        let (act, duration) = act(&mut dice, self.badly);
        if duration > 0 {
            sleep(ticks(duration)).await;
        }
        let end = match act {
            Act::End(End::Settled) => self.settle(lease).await,
            Act::End(end) => end,
            Act::Hang => pending().await,
            Act::HangAndPanic => {
                let _bomb = Bomb(self);
                pending().await
            }
            Act::KillProcess => {
                self.wire.doom(self.life);
                pending().await
            }
        };
        running.end(end.clone());
        match end {
            End::Done => Ok(Handled::Done),
            End::Settled => Ok(Handled::Settled),
            End::Retry => {
                let details = lease.fence.get().to_string();
                Err(HandlerError::retry("to be tried again").with_details(details))
            }
            End::RetryAfter(after) => Err(HandlerError::retry_after(after, "to be tried later")),
            End::Reject => Err(HandlerError::reject("rejected").with_details("")),
            // Does not run the panic hook, which would print it.
            End::Panic => std::panic::resume_unwind(Box::new("simulated")),
            End::Cut => unreachable!("nobody cuts itself"),
        }
    }
}

impl Script {
    /// The decisions of an attempt do not depend on when it begins. A poison event kills its
    /// process at each attempt.
    fn dice(&self, event: &EventRef, lease: Lease) -> Dice {
        let name = [hash(event.kind.as_str()), hash(event.key.as_str())];
        let poison = digest(self.seed, &name).is_multiple_of(16);
        let try_number = if poison {
            0
        } else {
            lease.fence.get().unsigned_abs()
        };
        Dice::new(
            digest(self.seed, &[name[0], name[1], try_number]),
            "attempt",
        )
    }

    /// Settles the event itself, as a handler does in a transaction.
    async fn settle(&self, lease: Lease) -> End {
        let part = Part::Handler(self.kind.clone(), lease.event.get());
        let store = Faulty::new(Arc::clone(&self.wire), self.life, part);
        let outcome = Outcome::Processed;
        match store.settle(&[Settlement::new(lease, outcome)]).await {
            Ok(answers) if answers == [Settled::Applied] => End::Settled,
            _ => End::Retry,
        }
    }
}

/// Decides what an attempt does, and after how many ticks.
fn act(dice: &mut Dice, badly: f64) -> (Act, u64) {
    let duration = dice.pick(&[0, 0, 1, 2, 5]);
    if !dice.chance(badly) {
        return (
            Act::End(dice.pick(&[&End::Done, &End::Done, &End::Settled]).clone()),
            duration,
        );
    }
    match dice.within(0..=9) {
        0 | 1 => (Act::End(End::Retry), duration),
        2 | 3 => {
            let after = ticks(dice.within(0..=40));
            (Act::End(End::RetryAfter(after)), duration)
        }
        4 => (Act::End(End::Reject), duration),
        5 => (Act::End(End::Panic), duration),
        6 if dice.chance(0.5) => (Act::HangAndPanic, duration),
        6 => (Act::Hang, duration),
        // Longer than a lease, and perhaps longer than handlers may take.
        7 | 8 => (Act::End(End::Done), dice.within(30..=70)),
        _ => (Act::KillProcess, duration),
    }
}

/// Panics when it is dropped, unless its process is dead.
struct Bomb<'a>(&'a Script);

impl Drop for Bomb<'_> {
    fn drop(&mut self) {
        if !self.0.wire.is_dead(self.0.life) {
            // Does not run the panic hook, which would print it.
            std::panic::resume_unwind(Box::new("simulated"));
        }
    }
}

/// Records that a handler begins and how it ends, even if it is dropped.
struct Running<'a> {
    script: &'a Script,
    event: EventRef,
    lease: Lease,
    ended: bool,
}

impl<'a> Running<'a> {
    fn begin(script: &'a Script, event: EventRef, lease: Lease) -> Self {
        script.history.write(Fact::Begun {
            life: script.life,
            event: event.clone(),
            lease,
        });
        Self {
            script,
            event,
            lease,
            ended: false,
        }
    }

    fn end(mut self, end: End) {
        self.write(end);
    }

    fn write(&mut self, end: End) {
        self.ended = true;
        self.script.history.write(Fact::Ended {
            life: self.script.life,
            event: self.event.clone(),
            lease: self.lease,
            end,
        });
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        // In a process that died, nothing ends.
        if !self.ended && !self.script.wire.is_dead(self.script.life) {
            self.write(End::Cut);
        }
    }
}
