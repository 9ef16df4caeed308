//! What the values of `webhook.toml` may be: the check of the file, its JSON Schema and the tables of its
//! reference are all made from these.

/// A key of a table.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) key: &'static str,
    pub(super) shape: &'static Shape,
    /// Whether the table must have it.
    pub(super) is_required: bool,
    /// The default, as the reference shows it. Empty if there is none.
    #[cfg_attr(not(test), expect(dead_code, reason = "tests make the reference"))]
    pub(super) default: &'static str,
    /// What it means, in Markdown.
    pub(super) meaning: &'static str,
}

/// What a value may be.
#[derive(Debug)]
pub(super) enum Shape {
    Text(&'static Form),
    /// One of these texts.
    Choice(&'static [&'static str]),
    Boolean,
    /// A whole number from the first to the second.
    Integer(u64, u64),
    /// A number from the first to the second, which may have a fraction.
    Number(u32, u32),
    /// A number of bytes, as a number or as a text with a unit, up to this many.
    Bytes(u64),
    List(&'static Self),
    /// A table with these keys.
    Table(&'static [Field]),
    /// A table with exactly one of these keys.
    OneKey(&'static [Field]),
    /// A table whose key `request` says which other keys it has.
    ByRequest(&'static [(&'static str, &'static [Field])]),
    /// A table with any keys.
    Map(&'static Self),
    /// The first of these that takes a value of its type.
    Any(&'static [Self]),
    /// A shape that the JSON Schema refers to by its name.
    Named(
        #[cfg_attr(not(test), expect(dead_code, reason = "tests make the JSON Schema"))]
        &'static str,
        &'static Self,
    ),
}

/// What a text may be.
#[derive(Debug)]
pub(super) struct Form {
    /// What is expected, for errors.
    pub(super) expected: &'static str,
    /// A regular expression of ECMA-262 for the JSON Schema, which may allow more than `is_valid`.
    #[cfg_attr(not(test), expect(dead_code, reason = "tests make the JSON Schema"))]
    pub(super) pattern: &'static str,
    pub(super) is_valid: fn(&str) -> bool,
}

/// The types of TOML's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Text,
    Boolean,
    Integer,
    /// A number with a fraction.
    Float,
    List,
    Table,
    /// A time: nothing takes these.
    Other,
}

impl Shape {
    pub(super) fn takes(&self, of: Type) -> bool {
        match self {
            Self::Text(_) | Self::Choice(_) => of == Type::Text,
            Self::Boolean => of == Type::Boolean,
            Self::Integer(..) => of == Type::Integer,
            Self::Number(..) => matches!(of, Type::Integer | Type::Float),
            Self::Bytes(_) => matches!(of, Type::Integer | Type::Text),
            Self::List(_) => of == Type::List,
            Self::Table(_) | Self::OneKey(_) | Self::ByRequest(_) | Self::Map(_) => {
                of == Type::Table
            }
            Self::Any(shapes) => shapes.iter().any(|shape| shape.takes(of)),
            Self::Named(_, shape) => shape.takes(of),
        }
    }

    /// What is expected, for errors: fits "expected …".
    pub(super) fn expected(&self) -> String {
        match self {
            Self::Text(form) => form.expected.to_owned(),
            Self::Choice([only]) => format!("\"{only}\""),
            Self::Choice(names) => format!("one of {}", names.join(", ")),
            Self::Boolean => "true or false".to_owned(),
            Self::Integer(least, most) => format!("a whole number from {least} to {most}"),
            Self::Number(least, most) => format!("a number from {least} to {most}"),
            Self::Bytes(most) => format!(
                "a number of bytes from 1 to {most}, or a text such as \"64KiB\" or \"4MiB\""
            ),
            Self::List(_) => "a list, in square brackets".to_owned(),
            Self::Table(_) | Self::ByRequest(_) | Self::Map(_) => "a table".to_owned(),
            Self::OneKey(fields) => {
                let keys: Vec<_> = fields.iter().map(|field| field.key).collect();
                format!("a table with one of the keys {}", keys.join(", "))
            }
            Self::Any(shapes) => {
                let expected: Vec<_> = shapes.iter().map(Self::expected).collect();
                expected.join("; or ")
            }
            Self::Named(_, shape) => shape.expected(),
        }
    }
}
