//! How the destinations of a running server do.

use serde::Serialize;
use webhook_core::{Admin, Kind, StoreError};
use webhook_forward::{DestinationState, DestinationStatus, Forwarder};

/// A destination of this server.
#[derive(Serialize)]
pub(crate) struct DestinationView {
    /// The kind of the events that are forwarded there: the name of the source.
    name: String,
    #[serde(flatten)]
    status: DestinationStatus,
    /// Whether the kind is paused, for all servers.
    paused: bool,
    /// How long the oldest due event has waited that nobody has claimed.
    lag_seconds: Option<f64>,
}

impl DestinationView {
    /// The views of these destinations.
    pub(crate) async fn of_all(
        destinations: Vec<(Kind, Forwarder)>,
        admin: &dyn Admin,
    ) -> Result<Vec<Self>, StoreError> {
        let paused = admin.paused().await?;
        let mut views = Vec::with_capacity(destinations.len());
        for (kind, forwarder) in destinations {
            let lag = admin.lag(&kind).await?;
            let paused = paused.contains(&kind);
            let mut status = forwarder.status();
            // The forwarder notices that its kind was resumed when it gets the next event.
            if status.state == DestinationState::Paused && !paused {
                status.state = DestinationState::Closed;
            }
            views.push(Self {
                name: kind.to_string(),
                status,
                paused,
                lag_seconds: lag.map(|lag| lag.as_secs_f64()),
            });
        }
        Ok(views)
    }
}
