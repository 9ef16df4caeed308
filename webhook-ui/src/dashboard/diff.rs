//! How the content of a conflict differs from that of the first delivery.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use maud::{Markup, html};

use crate::json_text::{Value, content};

/// How many differences are shown.
const MAX_DIFFERENCES: usize = 200;

/// How many characters of a value or a line are shown.
const MAX_CHARS: usize = 300;

/// How many pairs of lines are compared. Texts with more are compared at their beginnings and ends only.
const MAX_PAIRS: usize = 1_000_000;

/// How many unchanged lines are shown around changed ones.
const CONTEXT: usize = 3;

/// What differs between two texts: member by member if both are JSON, otherwise line by line.
pub(super) fn difference(first: &str, other: &str) -> Markup {
    let values = Value::parse(first).zip(Value::parse(other));
    match values {
        Some((first, other)) => members(&first, &other),
        None => lines(first, other),
    }
}

/// A value that is not the same in both.
#[derive(Debug, PartialEq, Eq)]
struct Difference {
    /// Where it is, as a JSON pointer (RFC 6901).
    pointer: String,
    first: Option<String>,
    other: Option<String>,
}

fn members(first: &Value<'_>, other: &Value<'_>) -> Markup {
    let mut differences = Vec::new();
    compare(first, other, &mut String::new(), &mut differences);
    let more = differences.len() > MAX_DIFFERENCES;
    differences.truncate(MAX_DIFFERENCES);
    html! {
        @if differences.is_empty() {
            p.note { "The values are the same. Only the order of members, or white space, differs." }
        } @else {
            div.scroll role="region" aria-label="Differences" tabindex="0" {
                table.diff {
                    thead { tr {
                        th scope="col" { "Member" }
                        th scope="col" { "First delivery" }
                        th scope="col" { "This delivery" }
                    } }
                    tbody {
                        @for it in &differences {
                            tr {
                                th scope="row" { code {
                                    @if it.pointer.is_empty() { "(all)" } @else { (it.pointer) }
                                } }
                                (side(it.first.as_deref(), "del"))
                                (side(it.other.as_deref(), "ins"))
                            }
                        }
                    }
                }
            }
        }
        @if more { p.note { "Only the first " (MAX_DIFFERENCES) " differences are shown." } }
    }
}

fn side(value: Option<&str>, kind: &str) -> Markup {
    html! {
        td class=(kind) {
            @match value {
                Some(value) => code { (value) },
                None => span.absent { "not there" },
            }
        }
    }
}

fn compare(
    first: &Value<'_>,
    other: &Value<'_>,
    pointer: &mut String,
    differences: &mut Vec<Difference>,
) {
    if differences.len() > MAX_DIFFERENCES {
        return;
    }
    let length = pointer.len();
    match (first, other) {
        (Value::Object(first), Value::Object(other)) => {
            let mut names: BTreeMap<(String, usize), [Option<&Value<'_>>; 2]> = BTreeMap::new();
            for (side, members) in [first, other].into_iter().enumerate() {
                for (name, value) in members {
                    let name = content(name);
                    // A name may be there more than once.
                    let mut number = 0;
                    while names
                        .get(&(name.clone(), number))
                        .is_some_and(|sides| sides[side].is_some())
                    {
                        number += 1;
                        if number > MAX_DIFFERENCES {
                            return;
                        }
                    }
                    names.entry((name, number)).or_default()[side] = Some(value);
                }
            }
            for ((name, _), sides) in names {
                let name = name.replace('~', "~0").replace('/', "~1");
                // Writing to a string never fails.
                let _ = write!(pointer, "/{name}");
                compare_sides(sides, pointer, differences);
                pointer.truncate(length);
            }
        }
        (Value::Array(first), Value::Array(other)) => {
            for index in 0..first.len().max(other.len()) {
                let _ = write!(pointer, "/{index}");
                compare_sides([first.get(index), other.get(index)], pointer, differences);
                pointer.truncate(length);
            }
        }
        _ if is_same(first, other) => {}
        _ => differences.push(Difference {
            pointer: cut(pointer),
            first: Some(text(first)),
            other: Some(text(other)),
        }),
    }
}

fn compare_sides(
    sides: [Option<&Value<'_>>; 2],
    pointer: &mut String,
    differences: &mut Vec<Difference>,
) {
    if let [Some(first), Some(other)] = sides {
        return compare(first, other, pointer, differences);
    }
    if differences.len() <= MAX_DIFFERENCES {
        let [first, other] = sides.map(|side| side.map(text));
        differences.push(Difference {
            pointer: cut(pointer),
            first,
            other,
        });
    }
}

fn is_same(first: &Value<'_>, other: &Value<'_>) -> bool {
    match (first, other) {
        (Value::String(first), Value::String(other)) => {
            first == other || content(first) == content(other)
        }
        _ => first == other,
    }
}

/// A value as text in one line, cut if it is long.
fn text(value: &Value<'_>) -> String {
    let mut output = String::new();
    write_value(value, &mut output);
    cut(&output)
}

fn write_value(value: &Value<'_>, output: &mut String) {
    // As long as any cut text.
    if output.len() > MAX_CHARS * 4 {
        return;
    }
    match value {
        Value::Plain(text) | Value::String(text) => output.push_str(text),
        Value::Array(items) => {
            output.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    output.push_str(", ");
                }
                write_value(item, output);
            }
            output.push(']');
        }
        Value::Object(members) => {
            output.push('{');
            for (index, (name, member)) in members.iter().enumerate() {
                if index > 0 {
                    output.push_str(", ");
                }
                output.push_str(name);
                output.push_str(": ");
                write_value(member, output);
            }
            output.push('}');
        }
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(MAX_CHARS) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

/// A line of either text, or of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line<'a> {
    Same(&'a str),
    First(&'a str),
    Other(&'a str),
}

fn lines(first: &str, other: &str) -> Markup {
    let lines = line_by_line(first, other);
    let is_changed = |line: &Line<'_>| !matches!(line, Line::Same(_));
    // Whether a line is near a changed one.
    let mut near = vec![false; lines.len()];
    for (index, _) in lines
        .iter()
        .enumerate()
        .filter(|(_, line)| is_changed(line))
    {
        let end = (index + CONTEXT + 1).min(lines.len());
        near[index.saturating_sub(CONTEXT)..end].fill(true);
    }
    let mut shown = Vec::new();
    let mut left_out = 0;
    for (line, _) in lines.iter().zip(&near).filter(|(_, near)| **near) {
        if shown.len() < MAX_DIFFERENCES {
            shown.push(*line);
        } else {
            left_out += 1;
        }
    }
    html! {
        @if shown.is_empty() {
            p.note { "The texts are the same." }
        } @else {
            div.diff-lines role="region" aria-label="Differences" tabindex="0" {
                @for line in shown {
                    @match line {
                        Line::Same(text) => div { "  " (cut(text)) },
                        Line::First(text) => div.del { span.unseen { "Only in the first delivery: " } "− " (cut(text)) },
                        Line::Other(text) => div.ins { span.unseen { "Only in this delivery: " } "+ " (cut(text)) },
                    }
                }
            }
            @if left_out > 0 { p.note { (left_out) " more lines are not shown." } }
        }
    }
}

fn line_by_line<'a>(first: &'a str, other: &'a str) -> Vec<Line<'a>> {
    let first: Vec<&str> = first.lines().collect();
    let other: Vec<&str> = other.lines().collect();
    let shorter = first.len().min(other.len());
    let pairs = || first.iter().zip(&other);
    let begin = pairs().take_while(|(first, other)| first == other).count();
    let backwards = first.iter().rev().zip(other.iter().rev());
    let end = backwards
        .take(shorter - begin)
        .take_while(|(first, other)| first == other)
        .count();
    let middle_first = &first[begin..first.len() - end];
    let middle_other = &other[begin..other.len() - end];
    let mut lines: Vec<_> = first[..begin].iter().map(|line| Line::Same(line)).collect();
    if middle_first.len().saturating_mul(middle_other.len()) > MAX_PAIRS {
        lines.extend(middle_first.iter().map(|line| Line::First(line)));
        lines.extend(middle_other.iter().map(|line| Line::Other(line)));
    } else {
        longest_common(middle_first, middle_other, &mut lines);
    }
    lines.extend(
        first[first.len() - end..]
            .iter()
            .map(|line| Line::Same(line)),
    );
    lines
}

/// Adds the lines of both, with as many of them in common as there can be.
fn longest_common<'a>(first: &[&'a str], other: &[&'a str], lines: &mut Vec<Line<'a>>) {
    let width = other.len() + 1;
    // How many lines are in common behind line `i` of the first and line `j` of the other.
    let mut common = vec![0_u32; (first.len() + 1) * width];
    for i in (0..first.len()).rev() {
        for j in (0..other.len()).rev() {
            common[i * width + j] = if first[i] == other[j] {
                common[(i + 1) * width + j + 1] + 1
            } else {
                common[(i + 1) * width + j].max(common[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    while i < first.len() || j < other.len() {
        if i < first.len() && j < other.len() && first[i] == other[j] {
            lines.push(Line::Same(first[i]));
            (i, j) = (i + 1, j + 1);
        } else if j == other.len()
            || i < first.len() && common[(i + 1) * width + j] >= common[i * width + j + 1]
        {
            lines.push(Line::First(first[i]));
            i += 1;
        } else {
            lines.push(Line::Other(other[j]));
            j += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn differences(first: &str, other: &str) -> Vec<(String, Option<String>, Option<String>)> {
        let mut found = Vec::new();
        let (first, other) = (Value::parse(first).unwrap(), Value::parse(other).unwrap());
        compare(&first, &other, &mut String::new(), &mut found);
        found
            .into_iter()
            .map(|it| (it.pointer, it.first, it.other))
            .collect()
    }

    #[test]
    fn members_are_compared_by_name() {
        let first = r#"{"id":"e","amount":1500.50,"a/b":{"x":[1,2]},"gone":true,"same":"\u00e9"}"#;
        let other = r#"{ "same":"é", "a/b":{"x":[1,3,4]}, "amount":1500.5, "id":"e", "new":null }"#;
        let some = |text: &str| Some(text.to_owned());
        let expected = vec![
            ("/a~1b/x/1".to_owned(), some("2"), some("3")),
            ("/a~1b/x/2".to_owned(), None, some("4")),
            ("/amount".to_owned(), some("1500.50"), some("1500.5")),
            ("/gone".to_owned(), some("true"), None),
            ("/new".to_owned(), None, some("null")),
        ];
        assert_eq!(differences(first, other), expected);
        assert!(differences(r#"{"a":1,"b":2}"#, r#"{"b":2,"a":1}"#).is_empty());
        let twice = differences(r#"{"a":1,"a":2}"#, r#"{"a":1,"a":3}"#);
        assert_eq!(twice, [("/a".to_owned(), some("2"), some("3"))]);
        let all = differences("1", r#"{"a":[1]}"#);
        assert_eq!(all, [(String::new(), some("1"), some(r#"{"a": [1]}"#))]);
    }

    #[test]
    fn lines_are_compared() {
        let lines = line_by_line("a\nb\nc\nd\ne", "a\nc\nx\nd\ne");
        let expected = [
            Line::Same("a"),
            Line::First("b"),
            Line::Same("c"),
            Line::Other("x"),
            Line::Same("d"),
            Line::Same("e"),
        ];
        assert_eq!(lines, expected);
        assert_eq!(line_by_line("", "x"), [Line::Other("x")]);
        assert_eq!(
            line_by_line("a\na", "a"),
            [Line::Same("a"), Line::First("a")]
        );
        let many: String = (0..5_000).map(|n| format!("{n}\n")).collect();
        let others: String = (0..5_000).map(|n| format!("{n}x\n")).collect();
        assert_eq!(line_by_line(&many, &others).len(), 10_000);
    }

    #[test]
    fn differences_are_text_and_bounded() {
        let hostile = "<img src=x onerror=alert(1)>";
        let page = difference(hostile, "x").into_string();
        assert!(page.contains("&lt;img") && !page.contains("<img"));
        let (first, other) = (
            format!("{{\"{hostile}\":1}}"),
            format!("{{\"a\":\"{hostile}\"}}"),
        );
        let page = difference(&first, &other).into_string();
        assert!(page.contains("&lt;img") && !page.contains("<img"));
        let first = format!("[{}0]", "1,".repeat(20_000));
        let other = format!("[{}0]", "2,".repeat(20_000));
        assert!(difference(&first, &other).into_string().len() < 100_000);
        let names = format!("{{{}\"a\":0}}", "\"a\":0,".repeat(20_000));
        assert!(difference(&names, "{}").into_string().len() < 100_000);
    }
}
