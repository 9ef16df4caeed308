//! A JSON value as a tree of lines, whose objects and arrays can be closed without a script.

use maud::{Markup, html};

use crate::json_text::{Value, content};

/// How many values of a body are shown as a tree. The raw body has all of them.
const MAX_VALUES: usize = 2_000;

/// How many characters of a string are shown. The raw body has all of them.
const MAX_CHARS: usize = 2_000;

/// Objects and arrays deeper than this are closed at first.
const OPEN_DEPTH: usize = 4;

/// The tree of a value, as an element with this id. Numbers are as they were written. Nothing in it is markup.
pub(super) fn json_tree(id: &str, value: &Value<'_>) -> Markup {
    let mut tree = Tree { left: MAX_VALUES };
    let lines = tree.value(None, value, 0);
    html! {
        div.json id=(id) { (lines) }
        @if tree.left == 0 {
            p.note { "Only the first " (MAX_VALUES) " values are shown here. The raw body has all of them." }
        }
    }
}

struct Tree {
    left: usize,
}

impl Tree {
    fn value(&mut self, name: Option<&str>, value: &Value<'_>, depth: usize) -> Markup {
        let Some(left) = self.left.checked_sub(1) else {
            return html! {};
        };
        self.left = left;
        match value {
            Value::Plain(text) => line(name, "json-plain", text),
            Value::String(text) => line(name, "json-string", &legible(text)),
            Value::Array(items) => {
                let children = items.iter().map(|item| (None, item));
                self.parent(name, ["[", "]"], items.len(), children, depth)
            }
            Value::Object(members) => {
                let children = members.iter().map(|(name, value)| (Some(*name), value));
                self.parent(name, ["{", "}"], members.len(), children, depth)
            }
        }
    }

    fn parent<'v>(
        &mut self,
        name: Option<&str>,
        [open, close]: [&str; 2],
        length: usize,
        children: impl Iterator<Item = (Option<&'v str>, &'v Value<'v>)>,
        depth: usize,
    ) -> Markup {
        if length == 0 {
            return line(name, "json-plain", &format!("{open}{close}"));
        }
        let mut shown = Vec::new();
        for (name, value) in children {
            if self.left == 0 {
                break;
            }
            shown.push(self.value(name, value, depth + 1));
        }
        html! {
            details open[depth < OPEN_DEPTH] {
                summary {
                    (label(name)) (open)
                    span.json-count { " " (length) @if length == 1 { " value" } @else { " values" } }
                }
                div.json-inner {
                    @for child in &shown { (child) }
                    @if shown.len() < length {
                        div.json-line { "… " (length - shown.len()) " more" }
                    }
                }
                div.json-line { (close) }
            }
        }
    }
}

/// A string without the escapes that it does not need.
fn legible(text: &str) -> String {
    serde_json::to_string(&content(text)).unwrap_or_else(|_| text.to_owned())
}

fn label(name: Option<&str>) -> Markup {
    html! {
        @if let Some(name) = name {
            span.json-name { (cut(&content(name))) } ": "
        }
    }
}

fn line(name: Option<&str>, class: &str, text: &str) -> Markup {
    html! {
        div.json-line { (label(name)) span class=(class) { (cut(text)) } }
    }
}

/// At most [`MAX_CHARS`] of a text.
fn cut(text: &str) -> String {
    match text.char_indices().nth(MAX_CHARS) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        json_tree("tree", &Value::parse(text).unwrap()).into_string()
    }

    #[test]
    fn numbers_are_as_written_and_nothing_is_markup() {
        let tree = shown(
            r#"{"<b>":1500.50,"n":12345678901234567890.0e+400,"x":"<script>alert(1)</script>","e":{}}"#,
        );
        assert!(tree.contains("1500.50") && tree.contains("12345678901234567890.0e+400"));
        assert!(tree.contains("&lt;script&gt;") && tree.contains("&lt;b&gt;"));
        assert!(!tree.contains("<script") && !tree.contains("<b>"));
        assert!(tree.contains("{}"));
        let tree = shown(r#"{"caf\u00e9":"\u00e9\u0000\n"}"#);
        assert!(
            tree.contains("café") && tree.contains(r"é\u0000\n"),
            "{tree}"
        );
    }

    #[test]
    fn large_and_deep_values_are_bounded() {
        let tree = shown(&format!("[{}0]", "1,".repeat(50_000)));
        assert!(tree.len() < 300_000 && tree.contains("more"));
        let tree = shown(&format!("{}{}", "[".repeat(150), "]".repeat(150)));
        assert_eq!(tree.matches("<details open>").count(), OPEN_DEPTH);
        let tree = shown(&format!("\"{}\"", "\u{e9}".repeat(100_000)));
        assert!(tree.len() < 10_000);
    }
}
