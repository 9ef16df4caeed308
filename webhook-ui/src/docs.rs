//! The OpenAPI document for people: plain HTML, made by the server.

use std::fmt::Write as _;

use serde_json::Value;

/// The document as a whole page.
pub(crate) fn page(document: &Value) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n</head>\n\
         <body>\n<main>\n<h1>{title}</h1>\n{content}</main>\n</body>\n</html>\n",
        title = escaped(document["info"]["title"].as_str().unwrap_or("API")),
        content = content(document),
    )
}

/// The content of the page below its heading, which other pages may have as well.
pub(crate) fn content(document: &Value) -> String {
    let mut html = String::new();
    let about = document["info"]["description"].as_str().unwrap_or_default();
    // Writing to a text cannot fail.
    let _ = writeln!(html, "<p>{}</p>", inline(about));
    let _ = writeln!(html, "<p><a href=\"openapi.json\">openapi.json</a></p>");
    let tags = document["tags"].as_array().map_or(&[][..], Vec::as_slice);
    for tag in tags {
        let name = tag["name"].as_str().unwrap_or_default();
        let _ = writeln!(html, "<h2>{}</h2>", escaped(name));
        let paths = document["paths"].as_object().into_iter().flatten();
        for (path, item) in paths {
            for method in ["get", "post"] {
                let operation = &item[method];
                let mut of = operation["tags"].as_array().into_iter().flatten();
                if of.any(|it| *it == name) {
                    write_operation(&mut html, method, path, operation);
                }
            }
        }
    }
    let _ = writeln!(html, "<h2>Documents</h2>");
    let schemas = document["components"]["schemas"].as_object();
    for (name, schema) in schemas.into_iter().flatten() {
        write_schema(&mut html, name, schema);
    }
    html
}

fn write_operation(html: &mut String, method: &str, path: &str, operation: &Value) {
    let id = operation["operationId"].as_str().unwrap_or_default();
    let _ = writeln!(
        html,
        "<section id=\"{id}\">\n<h3><code>{} {}</code></h3>\n<p>{}</p>",
        method.to_ascii_uppercase(),
        escaped(path),
        inline(operation["summary"].as_str().unwrap_or_default()),
        id = escaped(id),
    );
    let parameters = operation["parameters"].as_array();
    if let Some(parameters) = parameters.filter(|it| !it.is_empty()) {
        html.push_str(
            "<table>\n<thead><tr><th scope=\"col\">Parameter</th><th scope=\"col\">In</th>",
        );
        html.push_str(
            "<th scope=\"col\">Type</th><th scope=\"col\">Meaning</th></tr></thead>\n<tbody>\n",
        );
        for parameter in parameters {
            let _ = writeln!(
                html,
                "<tr><th scope=\"row\"><code>{}</code></th><td>{}</td><td>{}</td><td>{}</td></tr>",
                escaped(parameter["name"].as_str().unwrap_or_default()),
                escaped(parameter["in"].as_str().unwrap_or_default()),
                type_of(&parameter["schema"]),
                inline(parameter["description"].as_str().unwrap_or_default()),
            );
        }
        html.push_str("</tbody>\n</table>\n");
    }
    let body = &operation["requestBody"]["content"]["application/json"];
    if !body.is_null() {
        let _ = writeln!(html, "<p>Body: {}</p>", type_of(&body["schema"]));
        write_example(html, &body["example"]);
    }
    html.push_str("<table>\n<thead><tr><th scope=\"col\">Status</th><th scope=\"col\">Body</th>");
    html.push_str("<th scope=\"col\">Meaning</th></tr></thead>\n<tbody>\n");
    for (status, answer) in operation["responses"].as_object().into_iter().flatten() {
        let content = answer["content"].as_object();
        let bodies = content.into_iter().flatten().map(|(media_type, content)| {
            format!("{} {}", escaped(media_type), type_of(&content["schema"]))
        });
        let bodies: Vec<_> = bodies.collect();
        let _ = writeln!(
            html,
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td></tr>",
            escaped(status),
            bodies.join("<br>"),
            inline(answer["description"].as_str().unwrap_or_default()),
        );
    }
    html.push_str("</tbody>\n</table>\n</section>\n");
}

fn write_example(html: &mut String, example: &Value) {
    if let (false, Ok(text)) = (example.is_null(), serde_json::to_string_pretty(example)) {
        let _ = writeln!(html, "<pre><code>{}</code></pre>", escaped(&text));
    }
}

fn write_schema(html: &mut String, name: &str, schema: &Value) {
    let name = escaped(name);
    let _ = writeln!(html, "<section id=\"schema-{name}\">\n<h3>{name}</h3>");
    if let Some(about) = schema["description"].as_str() {
        let _ = writeln!(html, "<p>{}</p>", inline(about));
    }
    if let Some(values) = schema["enum"].as_array() {
        let values = values.iter().filter_map(Value::as_str);
        let values: Vec<_> = values
            .map(|it| format!("<code>{}</code>", escaped(it)))
            .collect();
        let _ = writeln!(html, "<p>{}</p>", values.join(", "));
    }
    // A flattened document is a part of the whole.
    let parts = match schema["allOf"].as_array() {
        Some(parts) => parts.iter().collect(),
        None => vec![schema],
    };
    for part in parts {
        if part["$ref"].is_string() {
            let _ = writeln!(html, "<p>The members of {}, and:</p>", type_of(part));
            continue;
        }
        let Some(members) = part["properties"].as_object() else {
            continue;
        };
        html.push_str(
            "<table>\n<thead><tr><th scope=\"col\">Member</th><th scope=\"col\">Type</th>",
        );
        html.push_str("<th scope=\"col\">Meaning</th></tr></thead>\n<tbody>\n");
        for (member, schema) in members {
            let _ = writeln!(
                html,
                "<tr><th scope=\"row\"><code>{}</code></th><td>{}</td><td>{}</td></tr>",
                escaped(member),
                type_of(schema),
                inline(schema["description"].as_str().unwrap_or_default()),
            );
        }
        html.push_str("</tbody>\n</table>\n");
    }
    html.push_str("</section>\n");
}

/// The type of a value, with a link to its schema.
fn type_of(schema: &Value) -> String {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = escaped(reference.rsplit('/').next().unwrap_or_default());
        return format!("<a href=\"#schema-{name}\">{name}</a>");
    }
    let alternatives = ["oneOf", "anyOf"].into_iter();
    if let Some(alternatives) = alternatives.filter_map(|it| schema[it].as_array()).next() {
        let types: Vec<_> = alternatives.iter().map(type_of).collect();
        return types.join(" or ");
    }
    match &schema["type"] {
        Value::String(name) if name == "array" => format!("list of {}", type_of(&schema["items"])),
        Value::String(name) => escaped(name),
        Value::Array(names) => {
            let names = names.iter().filter_map(Value::as_str).map(escaped);
            names.collect::<Vec<_>>().join(" or ")
        }
        _ => "any".to_owned(),
    }
}

/// A text in which backquotes enclose code.
fn inline(text: &str) -> String {
    let mut html = String::new();
    for (index, part) in text.split('`').enumerate() {
        let part = escaped(part);
        if index % 2 == 0 {
            html.push_str(&part);
        } else {
            let _ = write!(html, "<code>{part}</code>");
        }
    }
    html
}

fn escaped(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            c => html.push(c),
        }
    }
    html
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_never_markup() {
        assert_eq!(
            inline("a `<b>` & \"c\" 'd'"),
            "a <code>&lt;b&gt;</code> &amp; &quot;c&quot; &#39;d&#39;"
        );
    }

    #[test]
    fn page_has_every_route_and_every_document() {
        let document = serde_json::to_value(crate::openapi::document()).unwrap();
        let page = page(&document);
        for (_, path) in crate::api::routes() {
            assert!(page.contains(path), "{path}");
        }
        for name in document["components"]["schemas"]
            .as_object()
            .unwrap()
            .keys()
        {
            assert!(page.contains(&format!("id=\"schema-{name}\"")), "{name}");
        }
    }
}
