//! The same interface as with the feature `metrics`. Every method does nothing.

use std::time::Duration;

use http::StatusCode;
use webhook_core::Kind;

use crate::error_class::ErrorClass;
use crate::limit::Held;
use crate::status::DestinationState;

#[derive(Debug)]
pub(crate) struct Measures;

impl Measures {
    pub(crate) const fn new(_: &Kind) -> Self {
        Self
    }

    pub(crate) const fn ended(&self, _: Option<StatusCode>, _: Option<ErrorClass>, _: Duration) {}

    pub(crate) const fn held(&self, _: Held) {}

    pub(crate) const fn is(&self, _: DestinationState) {}
}
