//! The presets, as tables.

use std::sync::LazyLock;

use toml::de::{DeTable, DeValue};
use webhook_sources::preset;

static PRESETS: LazyLock<DeTable<'static>> =
    LazyLock::new(|| DeTable::parse_recoverable(preset::TOML).0.into_inner());

/// The table of the preset with the name `name`, or with this other name.
pub(super) fn table(name: &str) -> Option<&'static DeTable<'static>> {
    let preset = preset::get(name)?;
    match PRESETS.get(preset.name.as_str())?.get_ref() {
        DeValue::Table(table) => Some(table),
        _ => None,
    }
}

/// The names of all presets, and their other names.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    preset::all().flat_map(|preset| {
        let others = preset.also.iter().map(String::as_str);
        others.chain([preset.name.as_str()])
    })
}
