//! The OpenAPI document of the API.

mod examples;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa::openapi::content::Content;
use utoipa::openapi::path::{
    HttpMethod, OperationBuilder, Parameter, ParameterBuilder, ParameterIn,
};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::{
    AnyOfBuilder, ComponentsBuilder, KnownFormat, ObjectBuilder, Schema, SchemaFormat, Type,
};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{
    InfoBuilder, License, OpenApi as Document, OpenApiBuilder, Paths, Ref, RefOr, Required,
};

use crate::Ui;
use crate::api::documents as of;
use crate::model::{
    AuditPage, CopyPage, Event, EventPage, Failures, Job, Overview, PausedSource, RefusedPage,
    Scheduled, SourceStatus, TestSent,
};
use crate::problem::ProblemDocument;

/// The name of the bearer token among the security schemes.
const TOKEN: &str = "token";

/// The document of all routes: those of this crate, and those that the process around it describes.
pub(crate) fn of_all(ui: &Ui) -> Value {
    // The document has only texts as keys.
    let mut document = serde_json::to_value(document()).unwrap_or_default();
    if let Some(described) = ui.described() {
        for part in ["/paths", "/components/schemas"] {
            let parts = (document.pointer_mut(part), described.pointer(part));
            if let (Some(Value::Object(all)), Some(Value::Object(more))) = parts {
                all.extend(more.clone());
            }
        }
        if let (Value::Array(all), Value::Array(more)) = (&mut document["tags"], &described["tags"])
        {
            all.splice(0..0, more.iter().cloned());
        }
    }
    examples::add(&mut document);
    document
}

/// The document of the routes of this crate.
pub(crate) fn document() -> Document {
    let mut described = Described::default();
    describe(&mut described);
    described.finish()
}

/// Describes all routes, in the order in which they are shown.
fn describe(api: &mut Described) {
    api.get(
        "/v1/operator/overview",
        "Instance",
        "Sources, destinations and samples, from memory",
    )
    .answers::<Overview>("What an operator sees first");
    api.get(
        "/v1/operator/nodes",
        "Instance",
        "The processes that serve the inbox",
    )
    .answers::<of::Nodes>("The processes")
    .problem(404, "The token is for one source only");
    api.get(
        "/v1/operator/status",
        "Instance",
        "Counts the events of a source exactly, at most every few seconds if it has many, and lists what is paused",
    )
    .query(
        "source",
        "The name of the source. Default: all sources",
        source_name(),
    )
    .answers::<of::Statuses>("The counts")
    .problem(404, "There is no such source");
    api.get(
        "/v1/operator/stream",
        "Instance",
        "What changes, as server-sent events: at most one of each topic in 2 seconds",
    )
    .query(
        "topics",
        "`overview`, `jobs` and `events`, with commas between them. Default: all",
        text("overview,jobs"),
    )
    .bytes(
        "text/event-stream",
        "Events whose names are those of the topics, and whose data are JSON documents",
    )
    .problem(503, "Too many streams are open");

    api.get(
        "/v1/operator/events",
        "Events",
        "Events that match, the newest first, without bodies",
    )
    .filter()
    .page()
    .answers::<EventPage>("A page of events");
    api.get(
        "/v1/operator/export",
        "Events",
        "All events that match, one JSON document a line, without bodies",
    )
    .filter()
    .bytes(
        "application/x-ndjson",
        "A line for each event, as in a page; if it ends early, a last line with `ended_early`",
    )
    .problem(503, "Too many exports run");
    api.get("/v1/operator/events/{source}/{key}", "Events", "One event with its failed attempts and conflicts")
        .query("unmask", "Whether to show values that are masked otherwise; needs the scope `operate`, and leaves an audit record", boolean())
        .answers::<Event>("The event")
        .problem(403, "The token may only read")
        .problem(404, "There is no such event");
    api.get(
        "/v1/operator/events/{source}/{key}/body",
        "Events",
        "The body of an event, as it was delivered; leaves an audit record",
    )
    .bytes("application/octet-stream", "The body")
    .acts("The body was deleted");
    api.post(
        "/v1/operator/events/{source}/{key}/requeue",
        "Events",
        "Schedules a FAILED event again",
    )
    .answers::<Scheduled>("It is due now, and has its full number of attempts again")
    .acts("The event is not FAILED");
    api.post(
        "/v1/operator/events/{source}/{key}/make-due",
        "Events",
        "Makes a waiting event due now",
    )
    .query(
        "leased",
        "Whether to end the lease of a worker that holds it",
        boolean(),
    )
    .answers::<Scheduled>("It is due now")
    .acts("A worker holds the event, or it is settled");
    api.post(
        "/v1/operator/events/{source}/{key}/replay",
        "Events",
        "Sends a copy of an event to a destination; the event stays as it is",
    )
    .body::<of::ReplayRequest>(json!({ "to": "stripe" }), false)
    .answers::<of::Replayed>("The destination took the copy")
    .acts("The body was deleted, or there is no destination")
    .problem(413, "The edited body is too long")
    .problem(501, "This app has no destinations")
    .problem(502, "The destination did not take the copy");
    api.post(
        "/v1/operator/events/{source}/{key}/erase",
        "Events",
        "Deletes the headers, the body and the details of a settled event; its key stays taken",
    )
    .answers::<of::Done>("They are deleted")
    .acts("The event is not settled");
    api.get(
        "/v1/operator/failures",
        "Events",
        "Why the newest FAILED events failed: grouped by source and reason",
    )
    .query("source", "Only failures of this source", source_name())
    .answers::<Failures>("The groups");

    api.get(
        "/v1/operator/sources",
        "Sources",
        "All sources with what they have received, from memory",
    )
    .answers::<of::Sources>("The sources");
    api.get("/v1/operator/sources/{source}", "Sources", "One source")
        .answers::<SourceStatus>("The source")
        .problem(404, "There is no such source");
    api.get(
        "/v1/operator/sources/{source}/refused",
        "Sources",
        "The latest requests that a source refused, with the reasons",
    )
    .query("limit", "At most so many", number(1, 1_000))
    .answers::<RefusedPage>("The requests, the latest first")
    .problem(404, "There is no such source");
    api.get(
        "/v1/operator/sources/{source}/copies",
        "Sources",
        "Copies of the new events of a source, with their bodies",
    )
    .query(
        "after",
        "`next_after` of the answer before. Default: from now on",
        number(0, i64::MAX),
    )
    .query(
        "wait",
        "For how many seconds to wait for the next copy",
        number(0, 30),
    )
    .answers::<CopyPage>("The copies")
    .problem(403, "The token may only read")
    .problem(404, "There is no such source");
    api.post(
        "/v1/operator/sources/{source}/pause",
        "Sources",
        "Pauses a source: its events are accepted, and processed after the resume",
    )
    .query(
        "new",
        "Whether to pause a source that nobody knows yet",
        boolean(),
    )
    .answers::<PausedSource>("The source is paused")
    .problem(403, "The token may only read")
    .problem(404, "There is no such source");
    api.post(
        "/v1/operator/sources/{source}/resume",
        "Sources",
        "Ends the pause of a source",
    )
    .answers::<PausedSource>("The source is not paused")
    .problem(403, "The token may only read")
    .problem(404, "There is no such source");
    api.post(
        "/v1/operator/sources/{source}/test-event",
        "Sources",
        "Sends a signed test event to a source, as its sender would",
    )
    .answers::<TestSent>("The source answered")
    .acts("The source cannot be tested")
    .problem(501, "This process receives nothing");
    api.get(
        "/v1/operator/destinations",
        "Sources",
        "Where this process forwards events to, with the state of each destination",
    )
    .answers::<of::Destinations>("The destinations");

    api.get(
        "/v1/operator/jobs",
        "Jobs",
        "The jobs of this process, the latest first",
    )
    .answers::<of::Jobs>("The jobs");
    api.post(
        "/v1/operator/jobs",
        "Jobs",
        "Plans a job on all events that match a filter; the plan is valid for 60 seconds",
    )
    .body::<of::PlanRequest>(
        json!({ "action": "requeue", "filter": "source:stripe error:\"timed out\"" }),
        true,
    )
    .answers::<Job>("The plan")
    .problem(403, "The token may only read")
    .problem(404, "The token is for another source")
    .problem(409, "This process has no destination for the copies");
    api.get(
        "/v1/operator/jobs/{id}",
        "Jobs",
        "One job with its progress",
    )
    .answers::<Job>("The job")
    .problem(404, "There is no such job");
    api.post("/v1/operator/jobs/{id}/run", "Jobs", "Runs a planned job")
        .body::<of::RunRequest>(json!({ "confirmed": 2310 }), false)
        .answers::<Job>("The job runs")
        .acts("The plan is too old, or the number is not confirmed");
    api.post(
        "/v1/operator/jobs/{id}/cancel",
        "Jobs",
        "Cancels a job; what it did until then stays done",
    )
    .answers::<Job>("The job is cancelled, or will be after its batch")
    .acts("The job has ended already");

    api.get(
        "/v1/operator/audit",
        "Audit",
        "What operators did, the latest first",
    )
    .query(
        "text",
        "Only records with this text in the actor, the action or the target",
        text("requeue"),
    )
    .page()
    .answers::<AuditPage>("A page of records");
    api.open("/openapi.json", "Documents", "This document")
        .bytes("application/json", "The document");
    api.open("/docs", "Documents", "This document for people")
        .bytes("text/html", "A page");
}

fn text(example: &str) -> Schema {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .examples([json!(example)])
        .into()
}

/// The name of a source in a query, where an empty value is none.
fn source_name() -> Schema {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some("^[a-z0-9._-]{0,64}$"))
        .examples([json!("stripe")])
        .into()
}

/// An instant, or how long ago it was.
fn instant(example: &str) -> Schema {
    let date_time = SchemaFormat::KnownFormat(KnownFormat::DateTime);
    let at = ObjectBuilder::new()
        .schema_type(Type::String)
        .format(Some(date_time));
    let ago = ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some("^([0-9]{1,9}[smhd])?$"));
    AnyOfBuilder::new()
        .item(ago)
        .item(at)
        .examples([json!(example)])
        .into()
}

fn boolean() -> Schema {
    ObjectBuilder::new().schema_type(Type::Boolean).into()
}

fn number(minimum: i64, maximum: i64) -> Schema {
    let number = ObjectBuilder::new()
        .schema_type(Type::Integer)
        .minimum(Some(minimum));
    match maximum {
        i64::MAX => number.into(),
        maximum => number.maximum(Some(maximum)).into(),
    }
}

/// The parts of a document, which grow.
#[derive(Default)]
struct Described {
    routes: Vec<DescribedRoute>,
    schemas: Vec<(String, RefOr<Schema>)>,
}

/// A route that is described.
struct DescribedRoute {
    method: Method,
    path: &'static str,
    tag: &'static str,
    summary: &'static str,
    needs_token: bool,
    parameters: Vec<Parameter>,
    body: Option<(Content, bool)>,
    answer: Option<(&'static str, &'static str, Content)>,
    problems: Vec<(u16, &'static str)>,
}

/// Describes the route that was added last.
struct Describing<'d>(&'d mut Described);

impl Described {
    fn get(
        &mut self,
        path: &'static str,
        tag: &'static str,
        summary: &'static str,
    ) -> Describing<'_> {
        self.add(Method::GET, path, tag, summary, true)
    }

    fn post(
        &mut self,
        path: &'static str,
        tag: &'static str,
        summary: &'static str,
    ) -> Describing<'_> {
        self.add(Method::POST, path, tag, summary, true)
    }

    /// A document for everybody.
    fn open(
        &mut self,
        path: &'static str,
        tag: &'static str,
        summary: &'static str,
    ) -> Describing<'_> {
        self.add(Method::GET, path, tag, summary, false)
    }

    fn add(
        &mut self,
        method: Method,
        path: &'static str,
        tag: &'static str,
        summary: &'static str,
        needs_token: bool,
    ) -> Describing<'_> {
        let names = path.split('/').filter_map(|segment| {
            let name = segment.strip_prefix('{')?;
            name.strip_suffix('}')
        });
        let parameters = names.map(|name| {
            let (about, example) = match name {
                "source" => ("The name of the source", "stripe"),
                "key" => ("The key of the event, percent-encoded", "evt_1Nv0FG"),
                _ => ("The id of the job", "9f86d081884c7d65"),
            };
            ParameterBuilder::new()
                .name(name)
                .parameter_in(ParameterIn::Path)
                .required(Required::True)
                .description(Some(about))
                .schema(Some(text(example)))
                .build()
        });
        self.routes.push(DescribedRoute {
            parameters: parameters.collect(),
            method,
            path,
            tag,
            summary,
            needs_token,
            body: None,
            answer: None,
            problems: vec![(400, "A parameter or the body is wrong")],
        });
        Describing(self)
    }

    /// The reference to a schema, which is added with all that it refers to.
    fn schema<T: ToSchema>(&mut self) -> Ref {
        T::schemas(&mut self.schemas);
        self.schemas.push((T::name().into_owned(), T::schema()));
        Ref::from_schema_name(T::name())
    }

    fn finish(mut self) -> Document {
        let problem = self.schema::<ProblemDocument<'_>>();
        let mut paths = Paths::new();
        for route in std::mem::take(&mut self.routes) {
            let method = match route.method {
                Method::POST => HttpMethod::Post,
                _ => HttpMethod::Get,
            };
            paths.add_path_operation(route.path, vec![method], route.operation(&problem));
        }
        let mut components = ComponentsBuilder::new();
        for (name, schema) in self.schemas {
            components = components.schema(name, schema);
        }
        let token = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("A token of the scope `read` or `operate`"))
            .build();
        let components = components.security_scheme(TOKEN, SecurityScheme::Http(token));
        let info = InfoBuilder::new()
            .title("Webhook inbox")
            .version(env!("CARGO_PKG_VERSION"))
            .description(Some(
                "What operators see of a webhook inbox, and do to it. Errors are \
                 `application/problem+json` (RFC 9457). A token of the scope `read` sees states, and bodies with \
                 masked values; one of the scope `operate` acts. A token of one source gets 404 for everything of \
                 another.",
            ))
            .license(Some(License::new("MIT OR Apache-2.0")))
            .build();
        let tags = [
            "Instance",
            "Events",
            "Sources",
            "Jobs",
            "Audit",
            "Documents",
        ];
        let tags = tags.map(|tag| TagBuilder::new().name(tag).build());
        OpenApiBuilder::new()
            .info(info)
            .paths(paths)
            .components(Some(components.build()))
            .tags(Some(tags))
            .build()
    }
}

impl DescribedRoute {
    fn operation(self, problem: &Ref) -> OperationBuilder {
        let id = self.path.trim_start_matches("/v1/operator");
        let id = id.replace(['/', '.', '-'], "_").replace(['{', '}'], "");
        let id = format!("{}{id}", self.method.as_str().to_ascii_lowercase());
        let mut operation = OperationBuilder::new()
            .tag(self.tag)
            .summary(Some(self.summary))
            .operation_id(Some(id))
            .parameters(Some(self.parameters));
        if self.needs_token {
            let scopes: [&str; 0] = [];
            operation = operation.security(SecurityRequirement::new(TOKEN, scopes));
        }
        if let Some((content, is_required)) = self.body {
            let required = match is_required {
                true => Required::True,
                false => Required::False,
            };
            let body = RequestBodyBuilder::new()
                .content("application/json", content)
                .required(Some(required));
            operation = operation.request_body(Some(body.build()));
        }
        if let Some((content_type, about, content)) = self.answer {
            let answer = ResponseBuilder::new()
                .description(about)
                .content(content_type, content);
            operation = operation.response("200", answer.build());
        }
        let mut problems = self.problems;
        if self.needs_token {
            problems.push((401, "The token is missing or wrong"));
            let has = |status| problems.iter().any(|(known, _)| *known == status);
            let forbidden = (!has(403)).then_some((403, "The request is not one of this machine"));
            let missing = (!has(404)).then_some((404, "The API is not served here"));
            problems.extend(forbidden.into_iter().chain(missing));
        }
        problems.push((429, "Too many requests"));
        if !problems.iter().any(|(status, _)| *status == 503) {
            problems.push((503, "The store cannot answer now"));
        }
        problems.sort_by_key(|(status, _)| *status);
        for (status, about) in problems {
            let title = StatusCode::from_u16(status)
                .ok()
                .and_then(|it| it.canonical_reason());
            let example = json!({
                "type": "about:blank",
                "title": title,
                "status": status,
                "detail": about,
            });
            let content = Content::builder()
                .schema(Some(problem.clone()))
                .example(Some(example))
                .build();
            let answer = ResponseBuilder::new()
                .description(about)
                .content("application/problem+json", content);
            operation = operation.response(status.to_string(), answer.build());
        }
        operation
    }
}

impl Describing<'_> {
    fn route(&mut self, change: impl FnOnce(&mut DescribedRoute)) {
        if let Some(route) = self.0.routes.last_mut() {
            change(route);
        }
    }

    fn query(
        mut self,
        name: &'static str,
        about: &'static str,
        schema: impl Into<RefOr<Schema>>,
    ) -> Self {
        let parameter = ParameterBuilder::new()
            .name(name)
            .parameter_in(ParameterIn::Query)
            .required(Required::False)
            .description(Some(about))
            .schema(Some(schema))
            .build();
        self.route(|route| route.parameters.push(parameter));
        self
    }

    /// The parameters of a filter.
    fn filter(self) -> Self {
        let states = ObjectBuilder::new()
            .schema_type(Type::String)
            .enum_values(Some(["processing", "processed", "failed"]));
        self.query("source", "Only events of this source", source_name())
            .query("state", "Only events in this state", Schema::from(states))
            .query("type", "Only events of this type, or of types that begin with the text before a `*`. In quotation marks, the `*` is a part of the type: `\"a*\"`; a backslash stands before each quotation mark and each backslash in them", text("invoice.*"))
            .query("key", "Only the event with this key, or events whose keys begin with the text before a `*`; quotation marks as in `type`", text("evt_*"))
            .query("error", "Only events with this text in the reason of their failure", text("timed out"))
            .query("since", "Only events received since then: an instant, or how long ago with s, m, h or d", instant("2h"))
            .query("until", "Only events received before then", instant("10m"))
    }

    /// The parameters of a page.
    fn page(self) -> Self {
        self.query(
            "before",
            "`next_before` of the page before",
            ObjectBuilder::new().schema_type(Type::Integer).build(),
        )
        .query("limit", "At most so many. Default: 100", number(1, 1_000))
    }

    fn body<T: ToSchema>(mut self, example: Value, is_required: bool) -> Self {
        let content = Content::builder()
            .schema(Some(self.0.schema::<T>()))
            .example(Some(example))
            .build();
        self.route(|route| {
            route.body = Some((content, is_required));
            route.problems.push((413, "The body is too long"));
        });
        self
    }

    fn answers<T: ToSchema>(mut self, about: &'static str) -> Self {
        let content = Content::new(Some(self.0.schema::<T>()));
        self.route(|route| route.answer = Some(("application/json", about, content)));
        self
    }

    fn bytes(mut self, content_type: &'static str, about: &'static str) -> Self {
        let schema = match content_type {
            "application/json" => ObjectBuilder::new().build(),
            _ => ObjectBuilder::new().schema_type(Type::String).build(),
        };
        let content = Content::new(Some(Schema::from(schema)));
        self.route(|route| route.answer = Some((content_type, about, content)));
        self
    }

    fn problem(mut self, status: u16, about: &'static str) -> Self {
        self.route(|route| {
            route.problems.retain(|(known, _)| *known != status);
            route.problems.push((status, about));
        });
        self
    }

    /// The problems of an action on something that must be there, with the reason for a 409.
    fn acts(self, conflict: &'static str) -> Self {
        self.problem(403, "The token may only read")
            .problem(404, "There is no such event, source or job")
            .problem(409, conflict)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn document_describes_exactly_the_routes() {
        let document = document();
        let mut described = BTreeSet::new();
        for (path, item) in &document.paths.paths {
            for (method, operation) in [("GET", &item.get), ("POST", &item.post)] {
                if operation.is_some() {
                    described.insert((method.to_owned(), path.clone()));
                }
            }
        }
        let routes: BTreeSet<_> = crate::api::routes()
            .map(|(method, path)| (method.to_string(), path.to_owned()))
            .collect();
        assert_eq!(described, routes);
    }

    #[test]
    fn all_references_can_be_resolved() {
        let document = serde_json::to_value(document()).unwrap();
        assert_eq!(document["openapi"], "3.1.0");
        let schemas = document["components"]["schemas"].as_object().unwrap();
        let text = document.to_string();
        for reference in text.split("#/components/schemas/").skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(schemas.contains_key(name), "{name}");
        }
    }
}
