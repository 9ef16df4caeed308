//! The table of the routes of the admin API.

use serde_json::Value;

use super::{check_generated, read};

const DOCUMENT: &str = "docs/http-api.md";

const BEGIN: &str = "<!-- Generated from openapi.json. To update: BLESS=1 cargo test -p webhook-server --test server document -->\n";

fn table() -> String {
    // A test of the server compares it with the routes.
    let description: Value = serde_json::from_str(&read("docs/openapi.json")).unwrap();
    let mut table = format!("{BEGIN}| Request | Does |\n|---|---|\n");
    let paths = description["paths"].as_object().unwrap();
    for (path, methods) in paths
        .iter()
        .filter(|(path, _)| path.starts_with("/v1/operator/"))
    {
        for (method, operation) in methods.as_object().unwrap() {
            let method = method.to_uppercase();
            let summary = operation["summary"].as_str().unwrap();
            table.push_str(&format!("| `{method} {path}` | {summary} |\n"));
        }
    }
    table
}

#[test]
fn document_lists_every_route_of_operators() {
    check_generated(DOCUMENT, BEGIN, &table());
}
