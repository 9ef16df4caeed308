//! The OpenAPI document of the API.

use utoipa::OpenApi;
use utoipa::openapi::OpenApi as Document;

/// The document.
pub(crate) fn document() -> Document {
    Described::openapi()
}

#[derive(OpenApi)]
#[openapi(info(
    title = "webhook inbox",
    description = "The admin API of a webhook inbox.",
    license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
))]
struct Described;
