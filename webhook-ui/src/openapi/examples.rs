//! Examples of answers, made from their schemas.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// How deep documents may be nested in an example.
const MAX_DEPTH: usize = 32;

/// The values of members whose schemas have no example. Other members get a value of their type, or null where they may
/// be null.
const MEMBERS: &str = include_str!("examples.json");

/// Adds an example to each answer that has none.
pub(super) fn add(document: &mut Value) {
    let schemas = document["components"]["schemas"].take();
    let examples = Examples {
        schemas: &schemas,
        // A test parses it.
        members: serde_json::from_str(MEMBERS).unwrap_or_default(),
    };
    let paths = members(Some(&mut document["paths"]));
    let operations = paths.flat_map(|(_, item)| members(Some(item)));
    for (_, operation) in operations {
        let answers = members(operation.get_mut("responses"));
        for (_, answer) in answers {
            let contents = members(answer.get_mut("content"));
            for (media_type, content) in contents {
                if content["example"].is_null() {
                    content["example"] = match media_type.as_str() {
                        "application/x-ndjson" => {
                            let line = examples.of(&examples.schemas["EventSummary"], "", 0);
                            format!("{line}\n").into()
                        }
                        "text/event-stream" => "event: jobs\ndata: {\"jobs\":[]}\n\n".into(),
                        "application/octet-stream" => "{\"id\":\"evt_1Nv0FG\"}".into(),
                        "text/html" => "<!DOCTYPE html>\n".into(),
                        _ => examples.of(&content["schema"], "", 0),
                    };
                }
            }
        }
    }
    document["components"]["schemas"] = schemas;
}

/// The members of an object, if it is there. An index would add it.
fn members(object: Option<&mut Value>) -> impl Iterator<Item = (&String, &mut Value)> {
    object.and_then(Value::as_object_mut).into_iter().flatten()
}

struct Examples<'a> {
    schemas: &'a Value,
    members: BTreeMap<String, Value>,
}

impl Examples<'_> {
    /// An example of a value, which is the member `name` of a document.
    fn of(&self, schema: &Value, name: &str, depth: usize) -> Value {
        if let Some(own) = schema.get("example") {
            return own.clone();
        }
        if let Some(known) = self.members.get(name) {
            return known.clone();
        }
        if depth > MAX_DEPTH {
            return Value::Null;
        }
        if let Some(reference) = schema["$ref"].as_str() {
            let referred = reference.rsplit('/').next().unwrap_or_default();
            return self.of(&self.schemas[referred], name, depth + 1);
        }
        if let Some(parts) = schema["allOf"].as_array() {
            let parts = parts.iter().map(|part| self.of(part, name, depth + 1));
            let members = parts.filter_map(|part| match part {
                Value::Object(members) => Some(members),
                _ => None,
            });
            return Value::Object(members.flatten().collect());
        }
        if let Some(first) = schema["enum"].get(0) {
            return first.clone();
        }
        for alternatives in [&schema["oneOf"], &schema["anyOf"]] {
            if let Some(alternatives) = alternatives.as_array() {
                let mut others = alternatives.iter().filter(|it| it["type"] != "null");
                let other = others.next();
                return other.map_or(Value::Null, |it| self.of(it, name, depth + 1));
            }
        }
        match schema["type"].as_str() {
            Some("object") => {
                let members = schema["properties"].as_object().into_iter().flatten();
                let members =
                    members.map(|(name, schema)| (name.clone(), self.of(schema, name, depth + 1)));
                Value::Object(members.collect::<Map<_, _>>())
            }
            Some("array") => json!([self.of(&schema["items"], "", depth + 1)]),
            Some("string") if schema["format"] == "date-time" => json!("2026-01-02T03:04:05.678Z"),
            Some("string") => json!("text"),
            Some("integer" | "number") => schema["minimum"].as_i64().unwrap_or(0).into(),
            Some("boolean") => json!(false),
            _ => Value::Null,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_has_an_example() {
        let _: BTreeMap<String, Value> = serde_json::from_str(MEMBERS).unwrap();
        let mut document = serde_json::to_value(crate::openapi::document()).unwrap();
        add(&mut document);
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                for (status, answer) in operation["responses"].as_object().unwrap() {
                    for (media_type, content) in answer["content"].as_object().unwrap() {
                        let answer = format!("{method} {path} {status} {media_type}");
                        assert!(!content["example"].is_null(), "{answer}");
                    }
                }
            }
        }
        let empty = json!({ "paths": { "/": { "get": { "responses": { "200": {} } } } } });
        let mut whole = empty.clone();
        add(&mut whole);
        assert_eq!(whole["paths"], empty["paths"]);
        let job = &document["paths"]["/v1/operator/jobs/{id}"]["get"]["responses"]["200"];
        let job = &job["content"]["application/json"]["example"];
        assert_eq!(job["state"], "planned");
        assert_eq!(job["matching"], json!({ "count": 0, "at_least": false }));
    }
}
