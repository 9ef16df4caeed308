//! Methods that set one field each, for structs that nobody outside this crate can write as a literal.

/// Defines `with_…` for each field named.
macro_rules! setters {
    ($($setter:ident $field:ident: $type:ty;)*) => {
        $(
            #[doc = concat!(
                "The same with another [`", stringify!($field), "`](field@Self::", stringify!($field), ")."
            )]
            #[must_use]
            pub fn $setter(self, $field: $type) -> Self {
                Self { $field, ..self }
            }
        )*
    };
}

pub(crate) use setters;
