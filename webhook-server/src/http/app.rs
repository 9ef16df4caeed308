//! The application that an [`HttpServer`](super::HttpServer) serves: what its routes need.

use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::sync::Semaphore;
use webhook_core::{Admin, Inbox, Store};
use webhook_ui::{Instance, NoInstance, Ui};

#[cfg(doc)]
use super::AuthConfig;
use super::access::OperatorAccess;
use super::body_room::BodyRoom;
use super::problem::Problem;
use super::rates::Rates;
use super::ready::ReadyProbe;
use super::sources::Intake;
use super::{Auth, HttpOptions};
use crate::metrics::{Exporter, Requests};
use crate::sources::Sources;
use crate::traces::Traces;
use crate::views::transaction_kind;

/// How many long bodies are verified at the same time.
const MAX_VERIFICATIONS: usize = 2;

/// The routes of the HTTP API, with the inbox and the store that they use.
pub struct App {
    /// Takes deliveries. Without it, neither deliveries nor transactions are served.
    pub(super) inbox: Option<Inbox>,
    pub(super) store: Arc<dyn Store>,
    /// The sources of the configuration file, if there is one.
    pub(super) sources: Option<Arc<Sources>>,
    /// Takes their deliveries. Without it, only operators see the sources.
    pub(super) intake: Option<Intake>,
    admin: Option<Arc<dyn Admin>>,
    /// What the admin API and the dashboard show of this process.
    instance: Arc<dyn Instance>,
    /// The admin API and the dashboard, once somebody has asked for them.
    ui: OnceLock<Ui>,
    pub(super) traces: Option<Arc<Traces>>,
    /// Serves `/metrics`.
    pub(super) exporter: Option<&'static Exporter>,
    /// The requests with transactions.
    pub(super) transactions: Requests,
    pub(super) auth: Arc<Auth>,
    pub(super) rates: Arc<Rates>,
    pub(super) options: HttpOptions,
    pub(super) body_room: BodyRoom,
    /// Limits how many long bodies are verified at a time.
    pub(super) verifications: Arc<Semaphore>,
    pub(super) ready: ReadyProbe,
    is_draining: Arc<AtomicBool>,
}

impl App {
    /// Serves deliveries into `inbox`, and reads from `store`, which must be the store of `inbox`.
    pub fn new(inbox: Inbox, store: Arc<dyn Store>, options: HttpOptions) -> Self {
        Self::build(Some(inbox), store, options)
    }

    /// Serves only `/` and `/readyz`.
    pub fn without_inbox(store: Arc<dyn Store>, options: HttpOptions) -> Self {
        Self::build(None, store, options)
    }

    /// Also serves the admin API and the dashboard to [operators](AuthConfig::serves_operators).
    #[must_use]
    pub fn with_admin(self, admin: Arc<dyn Admin>) -> Self {
        Self {
            admin: Some(admin),
            ..self
        }
    }

    /// Shows `instance` to operators, which learns by `draining` that the server shuts down.
    #[must_use]
    pub(crate) fn with_instance(
        self,
        instance: Arc<dyn Instance>,
        draining: Arc<AtomicBool>,
    ) -> Self {
        Self {
            instance,
            is_draining: draining,
            ..self
        }
    }

    /// Also serves `/metrics`, to clients with a token of the scope `metrics` or `operate`. Without tokens, programs on
    /// this machine may read them where nobody else can.
    #[must_use]
    pub(crate) fn with_metrics(self, exporter: &'static Exporter) -> Self {
        Self {
            exporter: Some(exporter),
            ..self
        }
    }

    /// The admin API and the dashboard, if they are served.
    pub(super) fn ui(&self) -> Option<&Ui> {
        let admin = self.admin.as_ref()?;
        Some(self.ui.get_or_init(|| {
            let access = OperatorAccess::new(&self.auth, &self.rates);
            Ui::builder(Arc::clone(&self.store), Arc::clone(admin))
                .instance(Arc::clone(&self.instance))
                .access(Arc::new(access))
                .also_describe(described())
                .build()
        }))
    }

    /// Ends the jobs of operators, with their audit records.
    pub(super) async fn end_jobs(&self) {
        if let Some(ui) = self.ui.get() {
            ui.shutdown().await;
        }
    }

    /// Since when the secrets of transactions are used.
    pub(crate) fn secrets_since(&self) -> std::time::SystemTime {
        self.auth.since()
    }

    /// How many transactions each secret has verified since the secrets were read, in their order.
    pub(crate) fn verified_by_secret(&self) -> Vec<u64> {
        self.auth.verified_by_secret()
    }

    /// Shows `sources` to operators.
    #[must_use]
    pub(crate) fn with_sources(self, sources: Arc<Sources>) -> Self {
        Self {
            sources: Some(sources),
            ..self
        }
    }

    /// Serves deliveries to `sources` into `inbox`, and the states of their events with the conflicts that
    /// `admin` knows.
    #[must_use]
    pub(crate) fn receiving_for(
        self,
        sources: Arc<Sources>,
        inbox: Inbox,
        admin: Option<Arc<dyn Admin>>,
    ) -> Self {
        let intake = Intake {
            sources: Arc::clone(&sources),
            inbox,
            admin,
        };
        Self {
            intake: Some(intake),
            ..self.with_sources(sources)
        }
    }

    /// Traces requests.
    #[must_use]
    pub(crate) fn with_traces(self, traces: Option<Arc<Traces>>) -> Self {
        Self { traces, ..self }
    }

    /// Authenticates requests with `auth`. By default, only programs on this machine may make
    /// requests, and nobody is an operator.
    #[must_use]
    pub fn with_auth(self, auth: Arc<Auth>) -> Self {
        Self { auth, ..self }
    }

    fn build(inbox: Option<Inbox>, store: Arc<dyn Store>, options: HttpOptions) -> Self {
        Self {
            inbox,
            store,
            sources: None,
            intake: None,
            admin: None,
            instance: Arc::new(NoInstance),
            ui: OnceLock::new(),
            traces: None,
            exporter: None,
            transactions: Requests::new(&transaction_kind()),
            auth: Arc::default(),
            rates: Arc::new(Rates::new(options.rates.clone())),
            body_room: BodyRoom::new(options.max_buffered_bytes),
            verifications: Arc::new(Semaphore::new(MAX_VERIFICATIONS)),
            ready: ReadyProbe::default(),
            is_draining: Arc::default(),
            options,
        }
    }

    /// Counts an authenticated request towards the limit of all clients together, and rejects it if
    /// it is over that limit.
    pub(super) fn check_global_rate(&self, client: Option<IpAddr>) -> Result<(), Problem> {
        let checked = self.rates.check_all();
        checked.inspect_err(|_| self.auth.note_rate_limited(client))
    }

    /// Reports on `/readyz` from now on that the server is shutting down.
    pub(super) fn start_draining(&self) {
        self.is_draining.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Relaxed)
    }
}

/// The description of the routes that senders and readers use.
fn described() -> serde_json::Value {
    // A test parses it.
    serde_json::from_str(include_str!("openapi.json")).unwrap_or_default()
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App")
            .field("options", &self.options)
            .field("auth", &self.auth)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use webhook_core::{Admin, Store};
    use webhook_memory::MemoryStore;

    use super::*;

    /// `BLESS=1` writes the document.
    #[test]
    fn committed_openapi_document_is_that_of_the_server() {
        let store = Arc::new(MemoryStore::default());
        let app = App::without_inbox(
            Arc::<MemoryStore>::clone(&store) as Arc<dyn Store>,
            HttpOptions::default(),
        );
        let app = app.with_admin(store as Arc<dyn Admin>);
        let document = app.ui().unwrap().openapi();
        assert!(document["paths"]["/v1/webhooks/{source}"].is_object());
        let text = format!("{}\n", serde_json::to_string_pretty(&document).unwrap());
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(path, &text).unwrap();
        }
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            committed == text,
            "docs/openapi.json is not the document of the server: run this test with BLESS=1"
        );
    }
}
