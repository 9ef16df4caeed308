//! Replays the corpora and mutations of their inputs. The mutations are always the same, and take
//! only seconds.

#[path = "replay/mutation.rs"]
mod mutation;

use std::panic::catch_unwind;

use mutation::Mutator;

/// Another seed would give other mutations. The long search is that of libFuzzer.
const SEED: u64 = 4;

#[test]
fn transaction() {
    run("transaction", fuzz::transaction, 5_000);
}

#[test]
fn fingerprint() {
    run("fingerprint", fuzz::fingerprint, 2_000);
}

#[test]
fn http() {
    run("http", fuzz::http, 1_000);
}

#[test]
fn signature() {
    run("signature", fuzz::signature, 1_000);
}

#[test]
fn source() {
    run("source", fuzz::source, 3_000);
}

#[test]
fn id_path() {
    run("id_path", fuzz::id_path, 2_000);
}

#[test]
fn config() {
    run("config", fuzz::config, 500);
}

#[test]
fn database_url() {
    run("database_url", fuzz::database_url, 3_000);
}

/// Runs `target` on every input of its corpus, and on `mutations` mutations of them.
fn run(name: &str, target: fn(&[u8]), mutations: usize) {
    let inputs = fuzz::corpus::inputs(name).expect("the corpus can be read");
    assert!(!inputs.is_empty(), "there is no corpus of {name}");
    let mut corpus = Vec::new();
    for input in inputs {
        check(&input.place, target, &input.bytes);
        corpus.push(input.bytes);
    }
    let mut mutator = Mutator::new(SEED);
    for number in 0..mutations {
        let input = mutator.next_of(&corpus);
        check(&format!("mutation {number}"), target, &input);
    }
}

fn check(what: &str, target: fn(&[u8]), input: &[u8]) {
    if catch_unwind(|| target(input)).is_err() {
        panic!("{what}: b\"{}\"", input.escape_ascii());
    }
}
