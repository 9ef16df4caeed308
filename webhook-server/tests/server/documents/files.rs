//! Files and code that the documents name or show are there.

use super::{documents, read, root};

/// What is built, and is not always there.
const BUILT: &str = "target";

/// Whether this may be a file's path from the workspace's folder on. Paths of requests begin with a slash
/// or a full stop.
fn is_path(name: &str) -> bool {
    name.starts_with(|it: char| it.is_ascii_alphanumeric())
        && name
            .bytes()
            .all(|it| it.is_ascii_alphanumeric() || b"_-./".contains(&it))
}

#[test]
fn every_file_that_a_document_names_is_there() {
    let mut named = 0;
    let mut missing = Vec::new();
    for (document, text) in documents() {
        for name in text.split('`').skip(1).step_by(2) {
            let Some((folder, _)) = name.split_once('/').filter(|_| is_path(name)) else {
                continue;
            };
            if folder == BUILT || !root().join(folder).is_dir() {
                continue;
            }
            named += 1;
            if !root().join(name).exists() {
                missing.push(format!("{}: {name}", document.display()));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
    assert!(named > 60, "{named}");
}

#[test]
fn translated_app_is_the_example() {
    let example = read("examples/axum_orders.rs");
    let example: Vec<&str> = example.lines().collect();
    let text = read("docs/from-fastapi-and-celery.md");
    let (_, code) = text.split_once("```rust\n").unwrap();
    let (code, _) = code.split_once("```").unwrap();
    assert!(code.lines().count() > 40);
    for line in code.lines() {
        assert!(example.contains(&line), "{line}");
    }
}

#[test]
fn embedders_are_told_the_settings_that_sqlite_is_compiled_with() {
    let config = read(".cargo/config.toml");
    let setting = config
        .lines()
        .find(|line| line.starts_with("LIBSQLITE3_FLAGS"))
        .unwrap();
    assert!(read("docs/embedding.md").contains(&format!("[env]\n{setting}\n")));
    let decision = read("docs/decisions/sqlite.md");
    let (_, flags) = setting.split_once('"').unwrap();
    for flag in flags.trim_end_matches('"').split(' ') {
        assert!(decision.contains(&format!("- `{flag}`: ")), "{flag}");
    }
}

#[test]
fn code_map_names_modules_that_exist() {
    let text = read("ARCHITECTURE.md");
    let (_, map) = text.split_once("\n## Code map\n").unwrap();
    let (map, _) = map.split_once("\n## ").unwrap();
    let mut folder = None;
    let mut named = 0;
    let mut missing = Vec::new();
    for line in map.lines() {
        if let Some(package) = line.strip_prefix("**`") {
            let (package, _) = package.split_once('`').unwrap();
            folder = Some(root().join(package).join("src"));
        } else if line.starts_with("**") {
            folder = Some(root().join("verification"));
        }
        let (Some(folder), Some(item)) = (&folder, line.strip_prefix("- `")) else {
            continue;
        };
        let (names, _) = item.split_once(':').unwrap();
        for name in names.split('`').step_by(2).filter(|it| !it.is_empty()) {
            let name = name.trim_end_matches('/');
            named += 1;
            let is_there =
                folder.join(name).is_dir() || folder.join(format!("{name}.rs")).is_file();
            if !is_there {
                missing.push(folder.join(name));
            }
        }
    }
    assert!(missing.is_empty(), "ARCHITECTURE.md names {missing:#?}");
    assert!(named > 20, "{named}");
}
