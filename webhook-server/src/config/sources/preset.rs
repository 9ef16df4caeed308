//! The presets, as tables.

use std::sync::LazyLock;

use toml::de::{DeTable, DeValue};

/// The presets of the crate.
static PRESETS: LazyLock<DeTable<'static>> =
    LazyLock::new(|| DeTable::parse_recoverable(TEXT).0.into_inner());

const TEXT: &str = r#"
[stripe]
id = "json:/id"
event_type = "json:/type"
compare = { ignore = ["/pending_webhooks"] }
[stripe.scheme.hmac]
signed = "{timestamp}.{body}"
signature = { at = "header:stripe-signature", split = ",", item = "v1=" }
time = { at = "item:t" }

[github]
id = "header:x-github-delivery"
event_type = "header:x-github-event"
guard_body = true
[github.scheme.hmac]
signed = "{body}"
signature = { at = "header:x-hub-signature-256", prefix = "sha256=" }
"#;

/// The table of the preset `name`.
pub(super) fn table(name: &str) -> Option<&'static DeTable<'static>> {
    match PRESETS.get(name)?.get_ref() {
        DeValue::Table(table) => Some(table),
        _ => None,
    }
}

/// The names of all presets.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    PRESETS.keys().map(|key| &**key.get_ref())
}
