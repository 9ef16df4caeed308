//! Numbers of things, in words.

use std::fmt::Display;

/// A number with its noun: "1 event", "2 events".
pub(crate) fn counted(count: impl Count, one: &str, many: &str) -> String {
    let noun = plural(&count, one, many);
    format!("{count} {noun}")
}

/// The word that suits a number: "was" or "were".
pub(crate) fn plural<'t, C: Count>(count: &C, one: &'t str, many: &'t str) -> &'t str {
    if *count == C::from(1) { one } else { many }
}

/// A number of things.
pub(crate) trait Count: Display + PartialEq + From<u8> {}

impl<C: Display + PartialEq + From<u8>> Count for C {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_thing_is_singular() {
        let counted = [0_u64, 1, 2, 21].map(|count| counted(count, "copy", "copies"));
        assert_eq!(counted, ["0 copies", "1 copy", "2 copies", "21 copies"]);
        let plural = [0_usize, 1, 2].map(|count| plural(&count, "was", "were"));
        assert_eq!(plural, ["were", "was", "were"]);
    }
}
