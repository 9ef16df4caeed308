//! The values of fields as text.

use std::fmt::{Debug, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Formats `value`. If its `Debug` fails or panics, the text ends there: logging must not stop the work.
pub(super) fn text_of(value: &dyn Debug) -> String {
    let mut text = String::new();
    let shown = catch_unwind(AssertUnwindSafe(|| write!(text, "{value:?}")));
    if !matches!(shown, Ok(Ok(()))) {
        text.push_str("(cannot be shown)");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use super::*;

    struct Failing;

    impl Debug for Failing {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("half ")?;
            Err(fmt::Error)
        }
    }

    struct Panicking;

    impl Debug for Panicking {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            panic!("on purpose")
        }
    }

    #[test]
    fn values_that_fail_to_format_do_not_stop_the_line() {
        assert_eq!(text_of(&"a"), "\"a\"");
        assert_eq!(text_of(&Failing), "half (cannot be shown)");
        assert_eq!(text_of(&Panicking), "(cannot be shown)");
    }
}
