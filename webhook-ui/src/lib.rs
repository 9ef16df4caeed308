//! The admin API and the dashboard of a webhook inbox.
//!
//! [`Ui`] is one service that any hyper, tower or axum app can mount, below any path. It shows the events of a
//! [`Store`](webhook_core::Store) and an [`Admin`](webhook_core::Admin), which each backend is, and lets operators act
//! on them:
//!
//! | Path below the mount | What it is |
//! |---|---|
//! | `/v1/operator/…` | the admin API, JSON |
//! | `/openapi.json` | its description, OpenAPI 3.1 |
//! | `/docs` | the same for people |
//! | `/dashboard/…` | the dashboard, with the feature `dashboard` (on by default) |
//!
//! ```
//! use std::sync::Arc;
//!
//! use http::{Request, StatusCode};
//! use http_body_util::Full;
//! use webhook_memory::MemoryStore;
//! use webhook_ui::{Scope, TokenDigest, Tokens, Ui};
//!
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! let store = Arc::new(MemoryStore::default());
//! let tokens = Tokens::new([TokenDigest::of(Scope::Operate, "a long random token")]);
//! let ui = Ui::builder(store.clone(), store)
//!     .access(Arc::new(tokens))
//!     .mounted_at("/inbox")
//!     .build();
//!
//! let request = Request::get("/inbox/v1/operator/events")
//!     .header("authorization", "Bearer a long random token")
//!     .body(Full::<bytes::Bytes>::default())
//!     .unwrap();
//! assert_eq!(ui.respond(request).await.status(), StatusCode::OK);
//! # });
//! ```
//!
//! # Who may do what
//!
//! By default nobody may make requests: [`UiBuilder::access`] sets who may. [`Tokens`] knows bearer tokens by their
//! digests. A [`Caller`] of the scope [`Read`](Scope::Read) sees states, and bodies in which values are masked. One
//! with [`Operate`](Scope::Operate) may act, and sees everything. A caller of one source sees nothing of another: it
//! gets 404.
//!
//! # What the process around it adds
//!
//! An app that only has events needs nothing else. An [`Instance`] tells what the process knows beside its store:
//! sources with the requests that they refused, destinations, and a name.
//!
//! # When the app stops
//!
//! Pages that are open have streams that do not end by themselves. [`Ui::shutdown`] ends them, and the jobs that run:
//! call it when the app begins to stop, before it waits for its connections.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(
    not(feature = "dashboard"),
    expect(
        dead_code,
        unused_imports,
        reason = "the dashboard uses more than the API"
    )
)]

mod access;
mod actions;
mod api;
mod audit;
mod body;
#[cfg(feature = "dashboard")]
mod dashboard;
mod data;
mod docs;
mod filter;
mod instance;
mod jobs;
mod json_text;
pub mod model;
mod names;
mod openapi;
mod problem;
mod session;
mod stream;
mod tokens;
mod ui;

pub use access::{Access, Caller, ClientAddr, NoAccess, OverHttps};
pub use api::key_in_path;
pub use body::UiBody;
pub use filter::{Filter, InvalidFilter, When};
pub use instance::{Instance, NoInstance, Replayed};
pub use names::{KnownKinds, UnknownKind, did_you_mean};
pub use problem::Problem;
pub use tokens::{Expiry, Scope, TokenDigest, TokenName, Tokens};
pub use ui::{Ui, UiBuilder};

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
