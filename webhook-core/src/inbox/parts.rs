//! Splits the events of one delivery by their partitions.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;

use super::Inbox;
use super::flush::Answer;
use crate::error::Error;
use crate::event::Envelope;
use crate::placement::Placement;
use crate::store::Accepted;

impl Inbox {
    /// Accepts the events of each partition together, and returns when all partitions have answered.
    ///
    /// Every part has its place before the first one is queued, so that nothing is stored after
    /// [`Error::Overloaded`] and [`Error::Closed`].
    pub(super) async fn accept_parts(
        &self,
        placement: &Placement,
        events: Vec<Envelope>,
        delay: Duration,
    ) -> Result<Vec<Accepted>, Error> {
        let shared = &*self.shared;
        let count = events.len();
        let mut parts = BTreeMap::<usize, Part>::new();
        for (place, event) in events.into_iter().enumerate() {
            let partition = placement.partition_of(&event.kind, &event.key);
            match parts.get_mut(&partition) {
                Some(part) => {
                    part.places.push(place);
                    part.rest.push(event);
                }
                None => drop(parts.insert(partition, Part::new(place, event))),
            }
        }
        let mut placed = Vec::with_capacity(parts.len());
        for (partition, part) in parts {
            let queue = &shared.queues[partition];
            match shared.place(queue, &part.first, &part.rest) {
                Ok((place, room)) => placed.push((queue, place, room, part)),
                Err(error) => return Err(shared.refuse(&part.first, error)),
            }
        }
        let mut waiting = Vec::with_capacity(placed.len());
        for (queue, place, room, part) in placed {
            let (first, rest) = (part.first, part.rest);
            let (delivery, answered) =
                shared.waiting(queue, first, rest, delay, room, Answer::Together);
            place.send(delivery);
            waiting.push((part.places, answered));
        }
        let answers = waiting.iter_mut().map(|(_, answered)| answered.uncounted());
        let answers = join_all(answers).await;
        let mut accepted = vec![Accepted::Duplicate; count];
        for ((places, answered), answer) in waiting.iter().zip(answers) {
            // The caller repeats all of it, however many parts failed.
            let answer = answer.inspect_err(|error| answered.received.refused(error))?;
            for (place, answer) in places.iter().zip(answer) {
                accepted[*place] = answer;
            }
        }
        Ok(accepted)
    }
}

/// The events of one partition.
struct Part {
    first: Envelope,
    rest: Vec<Envelope>,
    /// The places of all of them in the delivery.
    places: Vec<usize>,
}

impl Part {
    fn new(place: usize, first: Envelope) -> Self {
        Self {
            first,
            rest: Vec::new(),
            places: vec![place],
        }
    }
}
