//! Senders and readers. Senders repeat deliveries, change their content, disconnect, and try again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use webhook_core::{Envelope, EventRef, Key, with_causes};

use super::World;
use crate::dice::Dice;
use crate::history::{Fact, Life};
use crate::payload::{Alpha, Beta, UNREADABLE, envelope, kinds};
use crate::time::ticks;

/// A delivery, which may be repeated.
#[derive(Clone)]
pub(super) struct Delivery {
    envelope: Envelope,
    delay: Duration,
}

struct Open {
    life: Life,
    delivery: Delivery,
    task: JoinHandle<()>,
}

pub(super) struct Senders {
    /// The number of deliveries that have not begun.
    left: u64,
    last: u64,
    open: BTreeMap<u64, Open>,
    /// The redeliveries, each with its first possible tick.
    again: Vec<(u64, Delivery)>,
    /// The deliveries that were answered, and whether they succeeded.
    told: Arc<Mutex<Vec<(u64, bool)>>>,
    sent: BTreeSet<EventRef>,
}

impl Senders {
    pub(super) fn new(left: u64) -> Self {
        Self {
            left,
            last: 0,
            open: BTreeMap::new(),
            again: Vec::new(),
            told: Arc::default(),
            sent: BTreeSet::new(),
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.open.is_empty()
    }

    /// Returns every event that was sent.
    pub(super) fn sent(&self) -> &BTreeSet<EventRef> {
        &self.sent
    }

    /// Decides how many deliveries begin now, if all that are left must begin within `ticks`.
    pub(super) fn due(&mut self, ticks: u64, dice: &mut Dice) -> u64 {
        // Deliveries come in bursts, so that batches have several events.
        let mean = 2 * self.left.div_ceil(ticks);
        let due = if dice.chance(0.3) {
            mean * 2
        } else {
            dice.within(0..=mean)
        };
        let due = due.min(self.left);
        self.left -= due;
        due
    }

    pub(super) fn redeliveries(&mut self, tick: u64) -> Vec<Delivery> {
        let due = self.again.extract_if(.., |(from, _)| *from <= tick);
        due.map(|(_, delivery)| delivery).collect()
    }
}

impl World {
    pub(super) fn deliver_new(&mut self) {
        let dice = &mut self.dice;
        let kind = dice.pick(&[0, 0, 0, 1]);
        let kind = &kinds()[kind];
        let key = format!("k{}", dice.within(1..=self.plan.keys));
        let key = Key::new(key).expect("a letter and a number are a key");
        let content = if dice.chance(self.plan.faults.conflict) {
            dice.pick(&[1, 2, UNREADABLE])
        } else {
            0
        };
        let delay = ticks(dice.pick(&[0, 0, 1, 3, 20]));
        let envelope = envelope(kind, &key, content);
        self.deliver(Delivery { envelope, delay });
    }

    pub(super) fn deliver(&mut self, delivery: Delivery) {
        let Some((life, inbox)) = self.any_inbox() else {
            return;
        };
        let Delivery { envelope, delay } = delivery.clone();
        self.senders.sent.insert(EventRef {
            kind: envelope.kind.clone(),
            key: envelope.key.clone(),
        });
        self.senders.last += 1;
        let number = self.senders.last;
        self.history.write(Fact::Sent {
            delivery: number,
            life,
            envelope: envelope.clone(),
            delay,
        });
        let history = self.history.clone();
        let answers = Arc::clone(&self.senders.told);
        let task = tokio::spawn(async move {
            let told = inbox.accept_after(envelope, delay).await;
            let told = told.map_err(|error| with_causes(&error));
            let success = told.is_ok();
            history.write(Fact::Told {
                delivery: number,
                told,
            });
            let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
            answers.push((number, success));
        });
        let open = Open {
            life,
            delivery,
            task,
        };
        self.senders.open.insert(number, open);
    }

    /// Disconnects one of the waiting senders.
    pub(super) fn leave(&mut self) {
        let open: Vec<u64> = self.senders.open.keys().copied().collect();
        if !open.is_empty() {
            let number = open[self.dice.index(open.len())];
            self.give_up(number);
        }
    }

    /// Disconnects the senders of a node that died.
    pub(super) fn hang_up(&mut self, life: Life) {
        let theirs = self
            .senders
            .open
            .iter()
            .filter(|(_, open)| open.life == life);
        let theirs: Vec<u64> = theirs.map(|(number, _)| *number).collect();
        for number in theirs {
            self.give_up(number);
        }
    }

    fn give_up(&mut self, number: u64) {
        let Some(open) = self.senders.open.remove(&number) else {
            return;
        };
        open.task.abort();
        self.history.write(Fact::Gone { delivery: number });
        self.try_again(open.delivery);
    }

    /// Notices answers.
    pub(super) fn collect(&mut self) {
        let told = Arc::clone(&self.senders.told);
        let told = std::mem::take(&mut *told.lock().unwrap_or_else(PoisonError::into_inner));
        for (number, success) in told {
            if let Some(open) = self.senders.open.remove(&number)
                && !success
            {
                self.try_again(open.delivery);
            }
        }
    }

    /// Schedules a redelivery, as most senders do if a delivery was not acknowledged.
    fn try_again(&mut self, delivery: Delivery) {
        if self.dice.chance(0.7) {
            let from = self.tick + self.dice.within(1..=10);
            self.senders.again.push((from, delivery));
        }
    }

    /// Reads one of the events that were sent.
    pub(super) fn read(&mut self) {
        let sent = self.senders.sent.iter().collect::<Vec<_>>();
        if sent.is_empty() {
            return;
        }
        let event = sent[self.dice.index(sent.len())].clone();
        let Some((_, inbox)) = self.any_inbox() else {
            return;
        };
        let history = self.history.clone();
        let asked = history.len();
        tokio::spawn(async move {
            let found = if event.kind == kinds()[0] {
                inbox.find::<Alpha>(&event.key).await
            } else {
                inbox.find::<Beta>(&event.key).await
            };
            let read = found.map_err(|error| with_causes(&error));
            history.write(Fact::Read { event, asked, read });
        });
    }
}
