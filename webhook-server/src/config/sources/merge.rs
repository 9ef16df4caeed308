//! Puts what an operator writes over a preset.

use std::borrow::Cow;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fields::describes_sender;

/// `own` with what the table `preset` has beside it. Errors about the latter name `span`, where the operator
/// names the preset.
///
/// A key of `own` replaces that of the preset, except in `answer`, in `settings`, and in `scheme` if both
/// have a scheme of the same name: there each key of the tables replaces its own.
pub(super) fn over<'i>(
    own: &DeTable<'i>,
    preset: &DeTable<'i>,
    span: &Range<usize>,
) -> DeTable<'i> {
    let mut merged = own.clone();
    for (key, value) in preset {
        let name: &str = key.get_ref();
        if !describes_sender(name) {
            continue;
        }
        let merges = match own.get(name).map(Spanned::get_ref) {
            Some(DeValue::Table(own)) if name == "scheme" => {
                let of_preset = value.get_ref().as_table();
                of_preset.is_some_and(|of_preset| own.keys().all(|key| of_preset.contains_key(key)))
            }
            Some(DeValue::Table(_)) => matches!(name, "answer" | "settings"),
            _ => false,
        };
        add(&mut merged, key, value, span, merges);
    }
    merged
}

/// Adds `value` at `key`, if there is none; if there is, and `merges`, adds what its tables lack.
fn add<'i>(
    table: &mut DeTable<'i>,
    key: &Spanned<Cow<'i, str>>,
    value: &Spanned<DeValue<'i>>,
    span: &Range<usize>,
    merges: bool,
) {
    let name: &str = key.get_ref();
    match (table.get_mut(name).map(Spanned::get_mut), value.get_ref()) {
        (None, _) => {
            let key = Spanned::new(span.clone(), key.get_ref().clone());
            table.insert(key, moved(value, span));
        }
        (Some(DeValue::Table(own)), DeValue::Table(of_preset)) if merges => {
            for (key, value) in of_preset {
                add(own, key, value, span, true);
            }
        }
        _ => {}
    }
}

/// `value` as if it stood at `span`.
fn moved<'i>(value: &Spanned<DeValue<'i>>, span: &Range<usize>) -> Spanned<DeValue<'i>> {
    let value = match value.get_ref() {
        DeValue::Array(items) => {
            DeValue::Array(items.iter().map(|item| moved(item, span)).collect())
        }
        DeValue::Table(table) => {
            let entries = table.iter().map(|(key, value)| {
                let key = Spanned::new(span.clone(), key.get_ref().clone());
                (key, moved(value, span))
            });
            DeValue::Table(entries.collect())
        }
        other => other.clone(),
    };
    Spanned::new(span.clone(), value)
}
