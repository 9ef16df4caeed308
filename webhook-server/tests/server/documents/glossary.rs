//! Help and documents use the words of docs/glossary.md.

use clap::{Command, CommandFactory as _};
use webhook_server::CommandLine;

use super::{read, rows};

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
        ("docs/forwarding.md", read("docs/forwarding.md")),
        ("docs/http-api.md", read("docs/http-api.md")),
        ("docs/operating.md", read("docs/operating.md")),
        ("docs/reliability.md", read("docs/reliability.md")),
        ("README.md", read("README.md")),
        ("SECURITY.md", read("SECURITY.md")),
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
