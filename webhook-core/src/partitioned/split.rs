//! Splits the items of a call among the partitions, and puts the answers in the order of the items.

use futures_util::future::{BoxFuture, join_all};

use crate::error::StoreError;
use crate::partitioned::Partitioned;
use crate::partitioned::error::WrongAnswers;
use crate::partitioned::member::Member;

/// The items of one partition, and their places in the call.
struct Part<T> {
    index: usize,
    places: Vec<usize>,
    items: Vec<T>,
}

impl Partitioned {
    /// Calls each partition with its items, all at the same time. Answer *i* belongs to item *i*; it is `none` if no
    /// partition has the item.
    ///
    /// If calls fail, the error is one of them: one that leaves open whether its call took effect, if there is one.
    pub(super) async fn split<T, A>(
        &self,
        items: &[T],
        index_of: impl Fn(&T) -> Option<usize>,
        none: Option<A>,
        call: impl for<'c> Fn(&'c Member, &'c [T]) -> BoxFuture<'c, Result<Vec<A>, StoreError>>,
    ) -> Result<Vec<A>, StoreError>
    where
        T: Clone,
        A: Clone,
    {
        // Each item is hashed once.
        let indexes: Vec<_> = items.iter().map(index_of).collect();
        let Some(first) = indexes.first() else {
            return Ok(Vec::new());
        };
        if let Some(index) = first
            && indexes.iter().all(|it| it == first)
        {
            let answers = call(&self.members()[*index], items).await?;
            return check(answers, items.len());
        }
        let mut parts: Vec<Part<T>> = Vec::new();
        let mut part_of = vec![None; self.members().len()];
        for (place, (item, index)) in items.iter().zip(indexes).enumerate() {
            let Some(index) = index else {
                continue;
            };
            let part = *part_of[index].get_or_insert_with(|| {
                parts.push(Part {
                    index,
                    places: Vec::new(),
                    items: Vec::new(),
                });
                parts.len() - 1
            });
            parts[part].places.push(place);
            parts[part].items.push(item.clone());
        }
        let calls = parts
            .iter()
            .map(|part| call(&self.members()[part.index], &part.items));
        let mut answers = vec![none; items.len()];
        let mut failed = None;
        for (part, answered) in parts.iter().zip(join_all(calls).await) {
            match answered.and_then(|it| check(it, part.items.len())) {
                Ok(answered) => {
                    for (place, answer) in part.places.iter().zip(answered) {
                        answers[*place] = Some(answer);
                    }
                }
                Err(error) => failed = Some(worse(failed, error)),
            }
        }
        match failed {
            Some(error) => Err(error),
            // Without `none`, every item has a partition.
            None => check(answers.into_iter().flatten().collect(), items.len()),
        }
    }
}

/// The one of two errors that says less of what was stored.
pub(super) fn worse(first: Option<StoreError>, second: StoreError) -> StoreError {
    match (first, second) {
        (None, second) => second,
        (Some(first @ StoreError::Unavailable { .. }), _) => first,
        (Some(_), second @ StoreError::Unavailable { .. }) => second,
        (Some(first), _) => first,
    }
}

fn check<A>(answers: Vec<A>, items: usize) -> Result<Vec<A>, StoreError> {
    if answers.len() == items {
        return Ok(answers);
    }
    Err(StoreError::unavailable(WrongAnswers {
        answers: answers.len(),
        items,
    }))
}
