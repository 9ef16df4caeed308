//! What a sender is answered.

use serde::Deserialize;

/// The answer to a request whose events are stored.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct AnswerSpec {
    /// The status, from 200 to 299. Default: 200.
    #[serde(default = "ok")]
    pub status: u16,
    /// The media type of the body, if there is one. Default: none.
    #[serde(default)]
    pub content_type: Option<String>,
    /// The body. Default: empty.
    #[serde(default)]
    pub body: String,
}

impl Default for AnswerSpec {
    fn default() -> Self {
        Self {
            status: ok(),
            content_type: None,
            body: String::new(),
        }
    }
}

const fn ok() -> u16 {
    200
}
