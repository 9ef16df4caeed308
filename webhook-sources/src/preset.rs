//! The senders that are known by name.
//!
//! ```
//! use webhook_sources::preset;
//!
//! let stripe = preset::get("stripe").expect("a preset");
//! assert_eq!(stripe.title, "Stripe");
//! assert!(preset::names().any(|name| name == "github"));
//! ```

use std::sync::LazyLock;

use serde::Deserialize;

use crate::spec::SourceSpec;

/// A sender that is known by name.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Preset {
    /// The name, such as `stripe`: lower-case letters, digits and hyphens.
    pub name: String,
    /// The name of the sender, as people write it.
    pub title: String,
    /// Other names of the preset.
    pub also: Vec<String>,
    /// The URL of the sender's documentation of its signatures.
    pub documentation: String,
    /// What describes the source.
    pub spec: SourceSpec,
}

/// The preset with the name `name`, or with this other name.
pub fn get(name: &str) -> Option<&'static Preset> {
    let presets = &*PRESETS;
    let named = |preset: &&Preset| preset.name == name || preset.also.iter().any(|it| it == name);
    presets.iter().find(named)
}

/// All presets, in alphabetical order of their names.
pub fn all() -> impl Iterator<Item = &'static Preset> {
    PRESETS.iter()
}

/// The names of all presets, in alphabetical order, without the other names that some have.
pub fn names() -> impl Iterator<Item = &'static str> {
    all().map(|preset| preset.name.as_str())
}

/// All presets as a TOML document: a table for each, with the members of its [`SourceSpec`] beside `title`, `also`
/// and `documentation`. For programs that let their users change parts of a preset.
pub const TOML: &str = include_str!("presets.toml");

static PRESETS: LazyLock<Vec<Preset>> = LazyLock::new(|| {
    // Tests parse the file, which is part of the program.
    parse(TOML).unwrap_or_default()
});

/// Reads presets. Each is a table with the members of a [`SourceSpec`] and of [`About`].
fn parse(text: &str) -> Result<Vec<Preset>, toml::de::Error> {
    let tables: toml::Table = text.parse()?;
    // The tables of a document are sorted by their names.
    let presets = tables.into_iter().map(|(name, mut table)| {
        let about: toml::Table = ["title", "also", "documentation"]
            .into_iter()
            .filter_map(|key| Some((key.to_owned(), table.as_table_mut()?.remove(key)?)))
            .collect();
        let About {
            title,
            also,
            documentation,
        } = about.try_into()?;
        Ok(Preset {
            name,
            title,
            also,
            documentation,
            spec: table.try_into()?,
        })
    });
    presets.collect()
}

/// What a preset has besides its specification.
#[derive(Deserialize)]
struct About {
    title: String,
    #[serde(default)]
    also: Vec<String>,
    documentation: String,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn all_presets_are_parsed() {
        let presets = parse(TOML).unwrap_or_else(|error| panic!("{error}"));
        assert!(presets.len() >= 50, "{}", presets.len());
        for preset in &presets {
            let name = &preset.name;
            let is_plain = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'-';
            assert!(name.bytes().all(is_plain), "{name}");
            assert!(preset.documentation.starts_with("https://"), "{name}");
            assert!(!preset.title.is_empty(), "{name}");
            assert_eq!(get(name), Some(preset));
        }
        let sorted: BTreeSet<&str> = names().collect();
        assert!(names().eq(sorted));
    }

    #[test]
    fn names_are_unique() {
        let others = all().flat_map(|preset| preset.also.iter().map(String::as_str));
        let known: Vec<&str> = names().chain(others).collect();
        let unique: BTreeSet<&str> = known.iter().copied().collect();
        assert_eq!(known.len(), unique.len());
        for also in ["clerk", "twitter", "whatsapp"] {
            assert!(get(also).is_some_and(|preset| preset.name != also));
        }
        assert_eq!(get("unknown"), None);
    }
}
