//! What the documents say of the tests.

use std::path::{Path, PathBuf};

/// All Rust source below a folder, but for what is built.
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

/// The documents about the present: in the folder of the workspace, in `docs` and in `docs/decisions`.
/// CHANGELOG.md names what has been renamed since.
fn documents() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let folders = [
        root.to_owned(),
        root.join("docs"),
        root.join("docs/decisions"),
    ];
    let entries = folders.iter().flat_map(|it| std::fs::read_dir(it).unwrap());
    let paths = entries.map(|entry| entry.unwrap().path());
    let paths = paths.filter(|path| path.extension().is_some_and(|it| it == "md"));
    let paths = paths.filter(|path| !path.ends_with("CHANGELOG.md"));
    paths
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            (path, text)
        })
        .collect()
}

#[test]
fn every_test_that_a_document_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut source = String::new();
    sources(root, &mut source);
    let mut named = 0;
    for (document, text) in documents() {
        for name in text.split('`').skip(1).step_by(2) {
            let is_sentence = name.bytes().filter(|it| *it == b'_').count() >= 3
                && name
                    .bytes()
                    .all(|it| it == b'_' || it.is_ascii_lowercase() || it.is_ascii_digit());
            if is_sentence {
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
