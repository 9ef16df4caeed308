//! docs/http-conformance.md shows the cases.

use std::fmt::Write;
use std::path::Path;

use super::GROUPS;
use super::case::{Case, End};

const BEGIN: &str = "<!-- Generated from the cases of the tests. To update: BLESS=1 cargo test -p webhook-server --test server document -->\n";
const END: &str = "<!-- End of the generated tables. -->\n";

#[test]
fn the_document_shows_the_cases() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/http-conformance.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (shown, after) = rest.split_once(END).unwrap();
    let tables = tables();
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, [before, BEGIN, &tables, END, after].concat()).unwrap();
    } else {
        assert!(
            shown == tables,
            "docs/http-conformance.md is out of date; run the command that it names. It should show:\n{tables}"
        );
    }
}

#[test]
fn http_api_documents_every_status_of_the_cases() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/http-api.md");
    let text = std::fs::read_to_string(path).unwrap();
    for case in GROUPS.iter().flat_map(|group| (group.cases)()) {
        for status in case.answers {
            assert!(
                text.contains(&status.to_string()),
                "{status}: {}",
                case.name
            );
        }
    }
}

fn tables() -> String {
    let mut text = String::new();
    for group in GROUPS {
        let title = group.title;
        write!(
            text,
            "\n## {title}\n\n| Sent | Response | Rule |\n|---|---|---|\n"
        )
        .unwrap();
        for case in (group.cases)() {
            let name = case.name.replace('|', "\\|");
            writeln!(text, "| {name} | {} | {} |", answer(&case), case.why).unwrap();
        }
    }
    text.push('\n');
    text
}

fn answer(case: &Case) -> String {
    let mut words: Vec<String> = case.answers.iter().map(u16::to_string).collect();
    if matches!(case.end, End::Closed) {
        words.push("closed".to_owned());
    }
    words.join(", ")
}
