//! docs/operating.md lists every option, and quotes log messages as they are.

use std::collections::BTreeMap;

use clap::CommandFactory as _;
use webhook_server::CommandLine;

use super::{all_sources, read, rows};

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
fn operating_guide_quotes_messages_as_they_are() {
    let source = all_sources();
    // Strings that go on in the next line.
    let source: Vec<&str> = source.split("\\\n").map(str::trim_start).collect();
    let source = source.concat();
    let text = read("docs/operating.md");
    let section = |title: &str| {
        let (_, section) = text.split_once(&format!("\n## {title}\n")).unwrap();
        section.split("\n##").next().unwrap()
    };
    let sections = [section("Logs"), section("Troubleshooting")];
    let rows = sections.into_iter().flat_map(rows);
    let messages: Vec<&str> = rows.flat_map(|row| quoted(row[0])).collect();
    assert!(messages.len() > 8, "{messages:?}");
    for message in messages {
        assert!(source.contains(message), "no code says {message:?}");
    }
}

#[test]
fn operating_guide_lists_every_command() {
    let text = read("docs/operating.md");
    let (_, section) = text.split_once("\n## Commands\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let documented: Vec<&str> = rows(section)
        .flat_map(|row| quoted(row[0]))
        .filter_map(|usage| usage.split_whitespace().next())
        .collect();
    for command in CommandLine::command().get_subcommands() {
        let name = command.get_name();
        assert!(
            documented.contains(&name),
            "{name} is not in {documented:?}"
        );
    }
}
