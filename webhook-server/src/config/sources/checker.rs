//! Compares the values of a file with the [shapes](Shape) that they may have.

use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use webhook_ui::did_you_mean;

use super::problem::{Problems, shown};
use super::shape::{Field, Shape, Type};

/// The deepest nesting of tables and lists that is looked at; the parser allows 80.
const MAX_DEPTH: usize = 32;

/// Compares values with shapes, and collects what is wrong.
pub(super) struct Checker<'a, 'b> {
    pub(super) problems: &'a mut Problems<'b>,
    /// Whether keys may be missing, because it is not known what else there would be.
    pub(super) is_partial: bool,
}

impl Checker<'_, '_> {
    /// Checks `value`, which is at `path`.
    pub(super) fn check(&mut self, path: &str, shape: &Shape, value: &Spanned<DeValue<'_>>) {
        let depth = path.bytes().filter(|byte| b".[".contains(byte)).count();
        if depth > MAX_DEPTH {
            self.problems.add(&value.span(), "nested too deep");
            return;
        }
        match (shape, value.get_ref()) {
            (Shape::Named(_, shape), _) => self.check(path, shape, value),
            (Shape::Any(shapes), inner) => {
                match shapes.iter().find(|shape| shape.takes(type_of(inner))) {
                    Some(shape) => self.check(path, shape, value),
                    None => self.wrong(path, shape, value),
                }
            }
            (Shape::Text(form), DeValue::String(text)) if (form.is_valid)(text) => {}
            (Shape::Choice(names), DeValue::String(text)) => {
                if !names.contains(&&**text) {
                    let similar = did_you_mean(text, names.iter().copied());
                    let expected = shape.expected();
                    let message = format!("{path}: expected {expected}{similar}");
                    self.problems.add(&value.span(), message);
                }
            }
            (Shape::Boolean, DeValue::Boolean(_)) => {}
            (Shape::Integer(least, most), DeValue::Integer(number))
                if number_of(number).is_some_and(|it| (*least..=*most).contains(&it)) => {}
            (Shape::Number(least, most), inner)
                if float_of(inner)
                    .is_some_and(|it| (f64::from(*least)..=f64::from(*most)).contains(&it)) => {}
            (Shape::Bytes(most), inner)
                if bytes_of(inner).is_some_and(|bytes| (1..=*most).contains(&bytes)) => {}
            (Shape::List(shape), DeValue::Array(items)) => {
                for (index, item) in items.iter().enumerate() {
                    self.check(&format!("{path}[{index}]"), shape, item);
                }
            }
            (Shape::Map(shape), DeValue::Table(table)) => {
                for (key, value) in table {
                    let path = join(path, key.get_ref());
                    self.check(&path, shape, value);
                }
            }
            (Shape::Table(fields), DeValue::Table(table)) => {
                self.fields(path, fields, table, value);
            }
            (Shape::OneKey(fields), DeValue::Table(table)) => {
                self.fields(path, fields, table, value);
                if table.len() != 1 && !self.is_partial {
                    self.wrong(path, shape, value);
                }
            }
            (Shape::ByRequest(variants), DeValue::Table(table)) => {
                self.by_request(path, variants, table, value);
            }
            _ => self.wrong(path, shape, value),
        }
    }

    fn wrong(&mut self, path: &str, shape: &Shape, value: &Spanned<DeValue<'_>>) {
        let message = format!("{path}: expected {}", shape.expected());
        self.problems.add(&value.span(), message);
    }

    fn fields(
        &mut self,
        path: &str,
        fields: &[Field],
        table: &DeTable<'_>,
        value: &Spanned<DeValue<'_>>,
    ) {
        for (key, value) in table {
            match fields.iter().find(|field| field.key == key.get_ref()) {
                Some(field) => self.check(&join(path, field.key), field.shape, value),
                None => {
                    let known = fields.iter().map(|field| field.key);
                    self.unknown(path, key, known);
                }
            }
        }
        let is_missing = |field: &&Field| field.is_required && !table.contains_key(field.key);
        for field in fields.iter().filter(is_missing) {
            if !self.is_partial {
                let path = join(path, field.key);
                self.problems.add(
                    &value.span(),
                    format!("{path} is missing: {}", field.meaning),
                );
            }
        }
    }

    fn by_request(
        &mut self,
        path: &str,
        variants: &[(&'static str, &'static [Field])],
        table: &DeTable<'_>,
        value: &Spanned<DeValue<'_>>,
    ) {
        let names: Vec<&str> = variants.iter().map(|(name, _)| *name).collect();
        let expected = format!("expected one of {}", names.join(", "));
        let Some(request) = table.get("request") else {
            let message = format!("{path}.request is missing: {expected}");
            return self.problems.add(&value.span(), message);
        };
        let given = request.get_ref().as_str().unwrap_or_default();
        let Some((_, fields)) = variants.iter().find(|(name, _)| *name == given) else {
            let similar = did_you_mean(given, names);
            let message = format!("{path}.request: {expected}{similar}");
            return self.problems.add(&request.span(), message);
        };
        let mut rest = table.clone();
        rest.remove("request");
        self.fields(path, fields, &rest, value);
    }

    /// Adds that `key` of the table at `path` is none of the `known` ones.
    pub(super) fn unknown<'c>(
        &mut self,
        path: &str,
        key: &Spanned<std::borrow::Cow<'_, str>>,
        known: impl IntoIterator<Item = &'c str>,
    ) {
        let known: Vec<&str> = known.into_iter().collect();
        let similar = did_you_mean(key.get_ref(), known.iter().copied());
        let name = shown(key.get_ref()).map_or_else(String::new, |name| format!(" {name}"));
        let of = if path.is_empty() {
            String::new()
        } else {
            format!("{path}: ")
        };
        let expected = if similar.is_empty() {
            format!("; expected {}", known.join(", "))
        } else {
            similar
        };
        self.problems
            .add(&key.span(), format!("{of}unknown key{name}{expected}"));
    }
}

/// `path` and `key` of the table there.
pub(super) fn join(path: &str, key: &str) -> String {
    let key = shown(key).unwrap_or("…");
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

const fn type_of(value: &DeValue<'_>) -> Type {
    match value {
        DeValue::String(_) => Type::Text,
        DeValue::Integer(_) => Type::Integer,
        DeValue::Boolean(_) => Type::Boolean,
        DeValue::Array(_) => Type::List,
        DeValue::Table(_) => Type::Table,
        DeValue::Float(_) => Type::Float,
        DeValue::Datetime(_) => Type::Other,
    }
}

/// The value of a whole number that is not negative.
pub(super) fn number_of(number: &DeInteger<'_>) -> Option<u64> {
    u64::from_str_radix(number.as_str(), number.radix()).ok()
}

/// The value of a number, with or without a fraction.
pub(super) fn float_of(value: &DeValue<'_>) -> Option<f64> {
    match value {
        DeValue::Integer(number) => Some(f64::from(u32::try_from(number_of(number)?).ok()?)),
        DeValue::Float(number) => number.as_str().parse().ok(),
        _ => None,
    }
}

/// A number of bytes: a number, or a text such as `64KiB`.
pub(super) fn bytes_of(value: &DeValue<'_>) -> Option<u64> {
    const UNITS: [(&str, u32); 4] = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("B", 0)];
    match value {
        DeValue::Integer(number) => number_of(number),
        DeValue::String(text) => UNITS.iter().find_map(|(unit, shift)| {
            let number: u64 = text.strip_suffix(unit)?.trim_end().parse().ok()?;
            number.checked_mul(1 << shift)
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_may_have_units() {
        for (text, expected) in [
            ("1", Some(1)),
            ("0x10", Some(16)),
            ("\"64KiB\"", Some(65_536)),
            ("\"1 MiB\"", Some(1 << 20)),
            ("\"7B\"", Some(7)),
            ("\"2GiB\"", Some(1 << 31)),
            ("\"1MB\"", None),
            ("\"MiB\"", None),
            ("\"-1KiB\"", None),
            ("\"99999999999999999999KiB\"", None),
            ("\"18446744073709551615GiB\"", None),
            ("-1", None),
            ("1.5", None),
            ("true", None),
        ] {
            let value = DeValue::parse(text).unwrap();
            assert_eq!(bytes_of(value.get_ref()), expected, "{text}");
        }
    }
}
