//! What the documents say is true.

mod examples;
mod files;
mod forwarding;
mod glossary;
mod metrics;
mod operating;
mod routes;

use std::path::{Path, PathBuf};

use webhook_server::metrics::all_metrics;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The text of `document`, a path in the workspace.
fn read(document: &str) -> String {
    std::fs::read_to_string(root().join(document)).unwrap()
}

/// Checks that `document` ends with `generated`, from `begin` on, or writes that with `BLESS=1`.
fn check_generated(document: &str, begin: &str, generated: &str) {
    let text = read(document);
    let (before, found) = text.split_at(text.find(begin).unwrap_or(text.len()));
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(root().join(document), format!("{before}{generated}")).unwrap();
        return;
    }
    assert_eq!(
        found, generated,
        "{document} is out of date; see its comment"
    );
}

/// The cells of each row of the tables in `text`.
fn rows(text: &str) -> impl Iterator<Item = Vec<&str>> {
    let lines = text.lines().filter(|line| line.starts_with("| "));
    lines.map(|line| {
        let inner = line.trim_end_matches('|').trim_start_matches('|');
        inner.split(" | ").map(str::trim).collect()
    })
}

/// All Rust source in the workspace, except build output.
fn all_sources() -> String {
    let mut text = String::new();
    sources(root(), &mut text);
    text
}

fn sources(folder: &Path, text: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if entry.file_type().unwrap().is_dir() {
            if !name.starts_with('.') && name != "target" {
                sources(&path, text);
            }
        } else if name.ends_with(".rs") {
            text.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}

/// The documents about the present: those of the workspace, in `docs`, in `docs/decisions`, in `docs/providers`, of the
/// receivers and of the crates.
/// CHANGELOG.md names what has been renamed since.
fn documents() -> Vec<(PathBuf, String)> {
    let mut folders = vec![
        root().join("docs"),
        root().join("docs/decisions"),
        root().join("docs/providers"),
        root().join("examples/receivers"),
    ];
    let crates = std::fs::read_dir(root()).unwrap();
    let crates = crates.map(|entry| entry.unwrap().path());
    folders.extend(crates.filter(|path| path.join("Cargo.toml").exists()));
    folders.push(root().to_owned());
    let entries = folders.iter().flat_map(|it| std::fs::read_dir(it).unwrap());
    let paths = entries.map(|entry| entry.unwrap().path());
    let paths = paths.filter(|path| path.extension().is_some_and(|it| it == "md"));
    let paths = paths.filter(|path| !path.ends_with("CHANGELOG.md"));
    let documents = paths.map(|path| {
        let text = std::fs::read_to_string(&path).unwrap();
        (path, text)
    });
    documents.collect()
}

#[test]
fn every_test_that_a_document_names_is_there() {
    let source = all_sources();
    let mut named = 0;
    for (document, text) in documents() {
        for name in text.split('`').skip(1).step_by(2) {
            let in_hardening = name.strip_prefix("hardening::");
            let name = in_hardening.unwrap_or(name);
            let is_sentence = name.bytes().filter(|it| *it == b'_').count() >= 3
                && name
                    .bytes()
                    .all(|it| it == b'_' || it.is_ascii_lowercase() || it.is_ascii_digit());
            let is_metric = all_metrics().any(|metric| metric.name == name);
            if (is_sentence && !is_metric) || in_hardening.is_some() {
                assert!(
                    source.contains(&format!("fn {name}")),
                    "{} names {name}",
                    document.display()
                );
                named += 1;
            }
        }
    }
    assert!(named > 60, "{named}");
}

/// The anchors of the headings in `text`, as GitHub makes them.
fn anchors(text: &str) -> Vec<String> {
    let mut is_code = false;
    let mut anchors = Vec::new();
    for line in text.lines() {
        is_code ^= line.starts_with("```");
        if let Some(heading) = line.strip_prefix('#').filter(|_| !is_code) {
            let heading = heading.trim_start_matches('#').trim().to_lowercase();
            let kept = heading.replace(' ', "-");
            let kept = kept
                .chars()
                .filter(|c| c.is_alphanumeric() || "-_".contains(*c));
            anchors.push(kept.collect());
        }
    }
    anchors
}

#[test]
fn every_link_between_documents_has_a_target() {
    let mut wrong = Vec::new();
    for (path, text) in documents() {
        let links = text.split("](").skip(1);
        for link in links.filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") || link.contains(char::is_whitespace) {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => path.clone(),
                file => path.with_file_name(file),
            };
            let is_there = match std::fs::read_to_string(&target) {
                Ok(text) => anchor.is_empty() || anchors(&text).iter().any(|it| it == anchor),
                // A folder, or an image.
                Err(_) => target.exists(),
            };
            if !is_there {
                wrong.push(format!("{}: {link}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
