//! What decides which event a request carries, and whether it is known.

use super::super::shape::{Field, Shape};
use super::forms::{ID_TEXT, PLACE, POINTER};
use super::{key, required};

pub(super) static ID: Shape = Shape::Named(
    "id",
    &Shape::Any(&[
        Shape::Text(&ID_TEXT),
        Shape::List(&ID),
        Shape::Table(FIRST_OF_FIELDS),
    ]),
);
static FIRST_OF_FIELDS: &[Field] = &[required(
    "first_of",
    &Shape::List(&ID),
    "the first of these that the request has",
)];

pub(super) const PLACES: Shape =
    Shape::Any(&[Shape::Text(&PLACE), Shape::List(&Shape::Text(&PLACE))]);

pub(super) const COMPARE: Shape = Shape::Any(&[
    Shape::Choice(&["bytes", "json", "none"]),
    Shape::OneKey(&[
        key(
            "ignore",
            &Shape::List(&Shape::Text(&POINTER)),
            "",
            "the JSON value without the values at these pointers",
        ),
        key(
            "only",
            &Shape::Text(&POINTER),
            "",
            "only the JSON value at this pointer",
        ),
    ]),
]);
