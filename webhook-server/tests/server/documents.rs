//! What the documents say is true.

mod examples;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory as _};
use webhook_server::CommandLine;

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
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|it| it.split(')').next())
        {
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
                Err(_) => target.is_dir(),
            };
            if !is_there {
                wrong.push(format!("{}: {link}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The cells of each row of the tables in `text`, without the names of columns.
fn rows(text: &str) -> impl Iterator<Item = Vec<&str>> {
    let lines = text.lines().filter(|line| line.starts_with("| "));
    lines.map(|line| {
        let inner = line.trim_end_matches('|').trim_start_matches('|');
        inner.split(" | ").map(str::trim).collect()
    })
}

fn read(document: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(document);
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn operating_guide_lists_every_variable_with_its_default() {
    let command = CommandLine::command();
    let options: BTreeMap<String, String> = command
        .get_arguments()
        .filter_map(|arg| {
            let defaults = arg.get_default_values().iter();
            let defaults: Vec<_> = defaults.map(|it| it.to_string_lossy()).collect();
            let default = match &defaults[..] {
                [] => "–".to_owned(),
                defaults => format!("`{}`", defaults.join(",")),
            };
            let variable = arg.get_env()?.to_string_lossy().into_owned();
            Some((variable, default))
        })
        .collect();
    let text = read("docs/operating.md");
    let (_, section) = text.split_once("\n## Configuration\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let documented: BTreeMap<String, String> = rows(section)
        .filter_map(|row| {
            let variable = row[0].strip_prefix('`')?.strip_suffix('`')?;
            Some((variable.to_owned(), row[1].to_owned()))
        })
        .collect();
    assert!(options.len() > 40);
    assert_eq!(
        documented, options,
        "left: docs/operating.md, right: --help"
    );
}

/// The parts of `text` between backticks, without what an ellipsis stands for.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    let quoted = text.split('`').skip(1).step_by(2);
    quoted
        .flat_map(|it| it.split('…'))
        .map(str::trim)
        .filter(|it| !it.is_empty())
}

#[test]
fn operating_guide_quotes_log_messages_as_they_are() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut source = String::new();
    sources(root, &mut source);
    // Strings that go on in the next line.
    let source: Vec<&str> = source.split("\\\n").map(str::trim_start).collect();
    let source = source.concat();
    let text = read("docs/operating.md");
    let (_, section) = text.split_once("\n## Logs\n").unwrap();
    let (section, _) = section.split_once("\n### ").unwrap();
    let messages: Vec<&str> = rows(section).flat_map(|row| quoted(row[0])).collect();
    assert!(messages.len() > 8, "{messages:?}");
    for message in messages {
        assert!(source.contains(message), "no code logs {message:?}");
    }
}

/// The help of `command` and of its subcommands, without flags and environment variables, whose names do
/// not change.
fn help(command: &Command) -> String {
    let text = command.clone().render_long_help().to_string();
    let words = text.split_whitespace();
    let words: Vec<_> = words.filter(|word| !word.starts_with("--")).collect();
    let own = words.join(" ");
    let subcommands = command.get_subcommands().map(help);
    std::iter::once(own)
        .chain(subcommands)
        .collect::<Vec<_>>()
        .join(" ")
}

/// The words of `text` in lower case. What is all in capitals, such as the name of a variable, is left out.
fn words(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_alphabetic() && c != '_')
        .filter(|word| word.chars().any(char::is_lowercase))
        .map(str::to_lowercase)
        .collect()
}

/// `word`, and what it becomes if it is a regular verb or noun.
fn forms(word: &str) -> Vec<String> {
    let stem = word.strip_suffix('e').unwrap_or(word);
    let last = stem.chars().last().map(String::from).unwrap_or_default();
    vec![
        word.to_owned(),
        format!("{word}s"),
        format!("{stem}ed"),
        format!("{stem}ing"),
        format!("{stem}{last}ed"),
        format!("{stem}{last}ing"),
    ]
}

/// Whether `words` contain `avoided`, which may be several words, each in any form.
fn contain(words: &[String], avoided: &str) -> bool {
    let avoided: Vec<_> = avoided.split(' ').map(forms).collect();
    words.windows(avoided.len()).any(|window| {
        let mut pairs = window.iter().zip(&avoided);
        pairs.all(|(word, forms)| forms.contains(word))
    })
}

#[test]
fn help_and_documents_use_the_words_of_the_glossary() {
    let glossary = read("docs/glossary.md");
    let avoided: Vec<&str> = rows(&glossary)
        .filter(|row| row[0] != "Word")
        .filter_map(|row| row.get(3).copied())
        .flat_map(|cell| cell.split(", "))
        .filter(|word| !word.is_empty())
        .collect();
    assert!(avoided.len() > 10, "{avoided:?}");
    let command = CommandLine::command();
    for (place, text) in [
        ("--help", help(&command)),
        ("docs/http-api.md", read("docs/http-api.md")),
        ("docs/operating.md", read("docs/operating.md")),
        ("README.md", read("README.md")),
    ] {
        let words = words(&text);
        for avoided in &avoided {
            assert!(
                !contain(&words, avoided),
                "{place} says {avoided:?}; docs/glossary.md has the word to use instead"
            );
        }
    }
}
