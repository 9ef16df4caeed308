//! [`BoundedText`]: texts that people read, within a limit.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// A text of at most `MAX` bytes without control characters: a longer text is truncated, and control characters are
/// replaced by spaces.
///
/// ```
/// use webhook_core::BoundedText;
///
/// assert_eq!(&*BoundedText::<4>::new("a\nbcd"), "a bc");
/// ```
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BoundedText<const MAX: usize>(Arc<str>);

impl<const MAX: usize> BoundedText<MAX> {
    /// Truncates `text`, and replaces its control characters.
    pub fn new(text: impl AsRef<str>) -> Self {
        Self(clean(text.as_ref(), MAX).into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<const MAX: usize> From<&str> for BoundedText<MAX> {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl<const MAX: usize> From<String> for BoundedText<MAX> {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl<const MAX: usize> Deref for BoundedText<MAX> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<const MAX: usize> fmt::Display for BoundedText<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<const MAX: usize> fmt::Debug for BoundedText<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// Truncates `text` to `max` bytes at most, and replaces its control characters by spaces.
pub(crate) fn clean(text: &str, max: usize) -> String {
    // `str::floor_char_boundary` needs Rust 1.91.
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let kept = text[..end].chars();
    // A control character of two bytes becomes a space of one.
    kept.map(|c| if c.is_control() { ' ' } else { c }).collect()
}
