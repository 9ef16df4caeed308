//! The JSON Schema of `webhook.toml`, and the tables of its reference, from the tables of keys.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::fields::{self, describes_sender};
use super::shape::{Field, Shape};

/// The JSON Schema.
fn schema() -> Value {
    let mut definitions = BTreeMap::new();
    let mut schema = table(fields::FILE, &mut definitions);
    // A definition may need others.
    let document = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "webhook.toml",
        "description": "The sources of webhook-server. Made from the keys that it knows.",
    });
    if let (Value::Object(into), Value::Object(from)) = (&mut schema, document) {
        into.extend(from);
        let definitions = definitions
            .into_iter()
            .filter_map(|(name, definition)| Some((name.to_owned(), definition?)));
        into.insert("$defs".to_owned(), Value::Object(definitions.collect()));
    }
    schema
}

/// Definitions by their names; `None` while one is being made.
type Definitions = BTreeMap<&'static str, Option<Value>>;

fn of(shape: &Shape, definitions: &mut Definitions) -> Value {
    match shape {
        Shape::Text(form) if form.pattern.is_empty() => json!({ "type": "string" }),
        Shape::Text(form) => json!({ "type": "string", "pattern": form.pattern }),
        Shape::Choice(names) => json!({ "enum": names }),
        Shape::Boolean => json!({ "type": "boolean" }),
        Shape::Integer(least, most) => {
            json!({ "type": "integer", "minimum": least, "maximum": most })
        }
        Shape::Number(least, most) => {
            json!({ "type": "number", "minimum": least, "maximum": most })
        }
        Shape::Bytes(most) => json!({ "anyOf": [
            { "type": "integer", "minimum": 1, "maximum": most },
            { "type": "string", "pattern": "^[0-9]+ ?([KMG]i)?B$" },
        ] }),
        Shape::List(shape) => json!({ "type": "array", "items": of(shape, definitions) }),
        Shape::Table(fields) => table(fields, definitions),
        Shape::OneKey(fields) => {
            let mut table = table(fields, definitions);
            table["minProperties"] = json!(1);
            table["maxProperties"] = json!(1);
            table
        }
        Shape::ByRequest(variants) => {
            let variants = variants.iter().map(|(name, fields)| {
                let mut table = table(fields, definitions);
                table["properties"]["request"] = json!({ "const": name });
                table["required"] = json!(["request"]);
                table
            });
            json!({ "oneOf": variants.collect::<Vec<_>>() })
        }
        Shape::Map(shape) => {
            json!({ "type": "object", "additionalProperties": of(shape, definitions) })
        }
        Shape::Any(shapes) => {
            let shapes = shapes.iter().map(|shape| of(shape, definitions));
            json!({ "anyOf": shapes.collect::<Vec<_>>() })
        }
        Shape::Named(name, shape) => {
            if !definitions.contains_key(name) {
                definitions.insert(name, None);
                let definition = of(shape, definitions);
                definitions.insert(name, Some(definition));
            }
            json!({ "$ref": format!("#/$defs/{name}") })
        }
    }
}

/// A table with these keys. None is required: a preset may have it.
fn table(fields: &[Field], definitions: &mut Definitions) -> Value {
    let properties: Map<String, Value> = fields
        .iter()
        .map(|field| {
            let mut property = of(field.shape, definitions);
            property["description"] = json!(field.meaning);
            (field.key.to_owned(), property)
        })
        .collect();
    json!({ "type": "object", "properties": properties, "additionalProperties": false })
}

/// The tables of the reference.
fn reference() -> String {
    let mut text = String::new();
    let of_source = fields::SOURCE_FIELDS.iter();
    let (sender, own): (Vec<_>, Vec<_>) = of_source.partition(|field| describes_sender(field.key));
    add(&mut text, "### Keys of a source", own);
    add(&mut text, "### Keys that describe the sender", sender);
    for (title, fields) in [
        ("#### `forward`", fields::FORWARD_FIELDS),
        ("#### `schedule` of `forward`", fields::SCHEDULE_FIELDS),
        ("#### `answer`", fields::ANSWER_FIELDS),
        ("### Schemes", fields::SCHEMES),
        ("#### `scheme.hmac`", fields::HMAC_FIELDS),
        ("#### `scheme.token`", fields::TOKEN_FIELDS),
        ("#### `scheme.basic`", fields::BASIC_FIELDS),
        ("#### `scheme.public_key`", fields::PUBLIC_KEY_FIELDS),
        ("#### `scheme.digest`", fields::DIGEST_FIELDS),
        ("#### `scheme.jwt`", fields::JWT_FIELDS),
        ("#### `keys` of `scheme.jwt`", fields::KEY_SETS),
        ("#### `keys.each` of `scheme.jwt`", fields::EACH_KEY_FIELDS),
        (
            "#### `scheme.fetched_certificate`",
            fields::FETCHED_CERTIFICATE_FIELDS,
        ),
        (
            "#### `algorithm` of `scheme.fetched_certificate`",
            fields::NAMED_ALGORITHMS_FIELDS,
        ),
        (
            "#### `required` of `scheme.fetched_certificate`",
            fields::REQUIRED_VALUE_FIELDS,
        ),
        ("#### `signature` of a scheme", fields::SIGNATURE_FIELDS),
        ("#### `time` of a scheme", fields::TIME_FIELDS),
    ] {
        add(&mut text, title, fields);
    }
    let _ = write!(
        text,
        "\n### Handshakes\n\nEach handshake is a table whose key `request` says what the request looks like.\n"
    );
    for (name, fields) in fields::HANDSHAKES {
        add(&mut text, &format!("#### `request = \"{name}\"`"), *fields);
    }
    add(
        &mut text,
        "#### `answer` of a handshake",
        fields::HANDSHAKE_ANSWER_FIELDS,
    );
    text.push('\n');
    text
}

fn add<'f>(text: &mut String, title: &str, fields: impl IntoIterator<Item = &'f Field>) {
    let _ = write!(text, "\n{title}\n\n| Key | Default | |\n|---|---|---|\n");
    for field in fields {
        let default = if field.default.is_empty() {
            "–"
        } else {
            field.default
        };
        let _ = writeln!(text, "| `{}` | {default} | {} |", field.key, field.meaning);
    }
}

fn document(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../docs")
        .join(name)
}

/// Compares the file at `path` with what it should be, or writes it.
#[track_caller]
fn compare(path: &Path, expected: &str) {
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, expected).unwrap();
    } else {
        let shown = std::fs::read_to_string(path).unwrap();
        assert!(
            shown == expected,
            "{} is out of date; run BLESS=1 cargo test -p webhook-server --lib schema",
            path.display()
        );
    }
}

#[test]
fn json_schema_is_that_of_the_keys() {
    let text = serde_json::to_string_pretty(&schema()).unwrap();
    compare(&document("webhook.schema.json"), &format!("{text}\n"));
}

#[test]
fn reference_has_the_tables_of_the_keys() {
    const BEGIN: &str = "<!-- Generated from the keys that the server knows. To update: BLESS=1 cargo test -p webhook-server --lib schema -->\n";
    const END: &str = "<!-- End of the generated tables. -->\n";
    let path = document("sources.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    compare(&path, &[before, BEGIN, &reference(), END, after].concat());
}

/// The complete example of the reference is read without an error.
#[test]
fn example_of_the_reference_is_valid() {
    let text = std::fs::read_to_string(document("sources.md")).unwrap();
    let examples: Vec<&str> = text
        .split("```toml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect();
    assert!(examples.len() >= 3, "{}", examples.len());
    for example in examples {
        let read = super::tests::read_with(example, |_| {
            Some("user:a secret that is long enough".into())
        });
        assert_eq!(read.err().unwrap_or_default(), [""; 0], "{example}");
    }
}
