//! The payload of `bare_hyper`, `producer` and `worker_only`.

use webhook_core::{HandlerError, Headers, Identity, InvalidPayload, Payload};

#[derive(serde::Deserialize, serde::Serialize)]
pub(crate) struct Order {
    pub(crate) id: String,
    pub(crate) total_cents: u64,
}

impl Payload for Order {
    const KIND: &'static str = "order";

    // Events with the same id are the same event; with another total, a redelivery is a conflict.
    fn identify(body: &[u8], _: &Headers) -> Result<Identity, InvalidPayload> {
        Identity::of_json(body, "/id", &["/total_cents"])
    }

    fn decode(body: &[u8], _: &Headers) -> Result<Self, HandlerError> {
        Ok(serde_json::from_slice(body)?)
    }
}
