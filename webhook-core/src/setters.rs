//! Builder methods that set one field each, for `#[non_exhaustive]` structs.

/// Defines a method `with_…` for each of the fields.
macro_rules! setters {
    ($($setter:ident $field:ident: $type:ty;)*) => {
        $(
            #[doc = concat!(
                "Sets [`", stringify!($field), "`](field@Self::", stringify!($field), ")."
            )]
            #[must_use]
            pub fn $setter(self, $field: $type) -> Self {
                Self { $field, ..self }
            }
        )*
    };
}

pub(crate) use setters;
