//! What is wrong with a specification.

use super::{SECRET, try_source};
use crate::{InvalidSource, Secrets, Source, SourceOptions, preset};

/// The messages of everything that is wrong.
fn problems(settings: &str, secrets: &Secrets) -> Vec<String> {
    let problems = try_source(settings, secrets).err().into_iter().flatten();
    problems.map(|problem| problem.to_string()).collect()
}

#[track_caller]
fn check(cases: &[(&str, &str)]) {
    for (settings, message) in cases {
        let found = problems(settings, &Secrets::of([SECRET]));
        assert_eq!(found.len(), 1, "{settings}: {found:?}");
        assert!(found[0].contains(message), "{settings}: {found:?}");
    }
}

#[test]
fn wrong_setting_is_named() {
    let same_id = "all events of a request would have the same id";
    check(&[
        (
            "answer = { status = 302 }",
            r#"answer.status is "302": expected 200 to 299"#,
        ),
        (
            r#"answer = { content_type = "a\nb" }"#,
            "answer.content_type is",
        ),
        ("refused_status = 200", "refused_status is"),
        ("refused_status = 410", "refused_status is"),
        ("methods = []", "methods is"),
        ("methods = ['post']", "methods is"),
        ("methods = ['OPTIONS']", "methods is"),
        ("id = 'item:t'", "id is"),
        ("event_type = 'item:t'", "event_type is"),
        ("split = ''", "split is"),
        ("split = '/*'\nid = 'header:x-id'", same_id),
        (
            "split = '/*'\nid = { first_of = ['header:x-id', 'sha256'] }",
            same_id,
        ),
        ("guard = 'body'\nid = 'generated'", "guard is"),
        ("keep_headers = ['a b']", "keep_headers is"),
        (
            "keep_headers = ['Authorization']\n[scheme.token]\nat = 'header:authorization'",
            "header Authorization has a secret",
        ),
        (
            "id = 'header:x-token'\n[scheme.token]\nat = 'header:x-token'",
            "header x-token has a secret",
        ),
    ]);
}

#[test]
fn wrong_handshake_is_named() {
    let query = "[[handshakes]]\nrequest = 'query'\nparameter = 'c'\n";
    let with_query = |settings: &str| format!("{query}{settings}");
    for (settings, message) in [
        ("token = 't'", "no secret with the name verify_token"),
        ("method = 'get'", "handshakes[0].method is"),
        (
            "answer = { status = 302 }",
            "handshakes[0].answer.status is",
        ),
        (
            "answer = { content_type = 'text/html' }",
            "handshakes[0].answer.content_type is \"text/html\": expected text/plain or",
        ),
        (
            "answer = { content_type = 'application/json' }",
            "handshakes[0].answer.body is",
        ),
        (
            "answer = { body = '{secret:secret}' }",
            "would show the secret with the name secret",
        ),
        (
            "answer = { body = '{secret:other}' }",
            "no secret with the name other",
        ),
        (
            "answer = { body = '{mac}', secrets = 'other' }",
            "no secret with the name other",
        ),
        (
            "answer = { body = '{mac}', key = 'hex' }",
            "secret 1 with the name secret is not hexadecimal",
        ),
    ] {
        check(&[(&with_query(settings), message)]);
    }
    check(&[
        (
            "[[handshakes]]\nrequest = 'json'\npointer = '/a'\nequals = 'b'\nanswer = {}",
            "handshakes[0].answer.body is",
        ),
        (
            "[[handshakes]]\nrequest = 'header'\nheader = 'a b'\nanswer = {}",
            "handshakes[0].header is",
        ),
        (
            "[[handshakes]]\nrequest = 'cloud_events'\nallowed_origins = []",
            "handshakes[0].allowed_origins is",
        ),
        (
            "[[handshakes]]\nrequest = 'probe'\nmethod = 'POST'",
            "handshakes[0].method is",
        ),
    ]);
}

#[test]
fn all_problems_are_named_at_once() {
    let secrets = Secrets::of(["short"])
        .with("other", "a long enough secret")
        .with("verify_token", "short");
    let settings = "
        refused_status = 404
        split = ''
        [[handshakes]]
        request = 'query'
        parameter = 'c'
        token = 't'
    ";
    let found = problems(settings, &secrets);
    for message in [
        "secret 1 with the name secret is too short",
        "secret 1 with the name verify_token is too short",
        "refused_status is",
        "split is",
        "no scheme or handshake takes a secret with the name other",
    ] {
        let count = found.iter().filter(|it| it.contains(message)).count();
        assert_eq!(count, 1, "{message}: {found:?}");
    }
    assert_eq!(found.len(), 5, "{found:?}");
    let error = try_source(settings, &secrets).unwrap_err();
    assert_eq!(error.to_string(), found.join("; "));
}

#[test]
fn presets_lack_nothing_but_secrets_and_settings() {
    for name in preset::names() {
        let spec = preset::get(name).unwrap().spec.clone();
        let options = SourceOptions {
            public_url: Some("https://example.com/".to_owned()),
            ..SourceOptions::default()
        };
        let found = Source::new(spec, &Secrets::new(), options);
        for problem in found.err().into_iter().flatten() {
            assert!(
                matches!(
                    problem,
                    InvalidSource::NoSecret { .. } | InvalidSource::NoSetting { .. }
                ),
                "{name}: {problem}"
            );
        }
    }
}
