//! Posts every body of `tests/corpus/json`. Its README documents the answers.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use crate::serve::{config, serve};
use crate::support::client::Client;

#[tokio::test]
async fn every_json_oddity_is_answered_as_documented() {
    let server = serve(&config());
    let mut client = Client::connect(server.addr()).await;
    let mut answers = documented();
    let mut wrong = Vec::new();
    for (name, body) in bodies() {
        let expected = match (answers.remove(&name), &name[..2]) {
            (Some(status), "y_" | "i_") => status,
            (None, "y_") => 202,
            (None, "n_") => 400,
            (status, _) => panic!("{name} is documented as {status:?}"),
        };
        let reply = client.post(body).await;
        match reply.status {
            202 if expected == 202 => reply.acknowledged("ACCEPTED"),
            status if status == expected => drop(reply.problem(expected)),
            status => wrong.push(format!(
                "{name}: {status}, not {expected}: {}",
                reply.text()
            )),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(answers.is_empty(), "documented and not there: {answers:?}");
}

fn folder() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "corpus", "json"]
        .iter()
        .collect()
}

fn bodies() -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let bodies = files.filter(|path| path.extension().is_some_and(|it| it == "json"));
    let named = |path: PathBuf| {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        (name, fs::read(&path).unwrap())
    };
    bodies.map(named).collect()
}

/// The answers in the tables of the README: rows of a name, a status and the reason.
fn documented() -> BTreeMap<String, u16> {
    let text = fs::read_to_string(folder().join("README.md")).unwrap();
    let mut answers = BTreeMap::new();
    for row in text.lines().filter_map(|line| line.strip_prefix("| `")) {
        let mut cells = row.trim_end_matches(" |").split(" | ");
        let name = cells.next().unwrap().trim_end_matches('`').to_owned();
        let status = cells.next().unwrap().parse().unwrap();
        assert!(cells.next().is_some_and(|why| !why.is_empty()), "{row}");
        let before = answers.insert(name, status);
        assert_eq!(before, None, "{row}");
    }
    answers
}
