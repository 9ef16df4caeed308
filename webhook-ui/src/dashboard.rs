//! The dashboard: HTML pages below `/dashboard`. Each page works without scripts.

mod api;
mod assets;
mod audit;
mod components;
mod csv;
mod destinations;
mod diff;
mod event;
#[cfg(test)]
mod event_tests;
mod events;
mod failed;
mod frame;
mod hex;
mod jobs;
mod json_tree;
mod live;
mod overview;
mod refused;
mod settings;
mod sign_in;
mod snapshot;
mod sources;
#[cfg(test)]
mod tests;
mod troubles;
mod workers;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Response};

use crate::session;
use crate::{Problem, Ui, UiBody};

use frame::View;
pub(crate) use live::document as page_document;
pub(crate) use snapshot::Dashboard;

/// Answers a request. `path` is what follows `/dashboard`. A write is a form; who it is from is checked here, before any
/// page sees it.
pub(crate) async fn respond(ui: &Ui, head: &Parts, path: &str, body: Bytes) -> Response<UiBody> {
    let path = path.trim_end_matches('/');
    if let Some(name) = path.strip_prefix("/assets/") {
        return assets::respond(head, name)
            .unwrap_or_else(|| frame::problem_page(ui, head, None, &Problem::no_such_path()));
    }
    let is_write = match head.method {
        Method::GET | Method::HEAD => false,
        Method::POST => true,
        _ => {
            let problem = Problem::method_not_allowed("GET, HEAD, POST");
            return frame::problem_page(ui, head, None, &problem);
        }
    };
    let visitor = session::visitor(ui, head);
    let form = Form::parse(&body);
    if is_write
        && let Err(problem) =
            session::check_write(visitor.as_ref().ok(), head, form.field("form_token"))
    {
        return frame::problem_page(ui, head, visitor.as_ref().ok(), &problem);
    }
    if path == "/sign-in" {
        return sign_in::respond(ui, head, visitor.as_ref().ok(), is_write.then_some(&form));
    }
    let visitor = match visitor {
        Ok(visitor) => visitor,
        Err(problem) => return sign_in::ask(ui, head, &problem),
    };
    let view = View::new(ui, &visitor, head, path);
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let answer = match is_write {
        false => read(&view, &segments).await,
        true => write(&view, &segments, &form).await,
    };
    answer.unwrap_or_else(|problem| frame::problem_page(ui, head, Some(&visitor), &problem))
}

/// Answers a GET. `segments` are those of the path below the dashboard, still percent-encoded.
async fn read(view: &View<'_>, segments: &[&str]) -> Result<Response<UiBody>, Problem> {
    match segments {
        [] => Ok(overview::show(view).await),
        ["sources"] => Ok(sources::list(view).await),
        ["sources", source] => sources::show(view, source).await,
        ["sources", source, "pause"] => sources::ask_to_pause(view, source).await,
        ["destinations"] => Ok(destinations::list(view).await),
        ["destinations", source] => destinations::show(view, source).await,
        ["workers"] => workers::list(view).await,
        ["events"] => events::list(view).await,
        ["events", "export"] => events::export(view),
        ["events", source, key] => event::show(view, source, key).await,
        ["events", source, key, "body"] => event::download(view, source, key).await,
        ["events", source, key, "replay"] => event::ask_to_replay(view, source, key).await,
        ["events", source, key, "erase"] => event::ask_to_erase(view, source, key).await,
        ["failed"] => failed::list(view).await,
        ["refused"] => refused::list(view).await,
        ["jobs"] => Ok(jobs::list(view).await),
        ["jobs", id] => jobs::show(view, id).await,
        ["audit"] => audit::list(view).await,
        ["audit", name] => audit::export(view, name),
        ["api"] => api::show(view).await,
        ["api", "try"] => api::try_it(view).await,
        ["settings"] => Ok(settings::show(view).await),
        ["live"] => live::stream(view),
        ["banners"] => Ok(view.banners()),
        _ => Err(Problem::no_such_path()),
    }
}

/// Answers a POST with a form, which was checked.
async fn write(
    view: &View<'_>,
    segments: &[&str],
    form: &Form,
) -> Result<Response<UiBody>, Problem> {
    match segments {
        ["sources", source, "pause"] => sources::pause(view, source, form).await,
        ["sources", source, "resume"] => sources::resume(view, source, form).await,
        ["sources", source, "test-event"] => sources::send_test(view, source, form).await,
        ["events", "selected"] => events::act(view, form).await,
        ["events", source, key, "requeue"] => event::requeue(view, source, key, form).await,
        ["events", source, key, "make-due"] => event::make_due(view, source, key, form).await,
        ["events", source, key, "replay"] => event::send_replay(view, source, key, form).await,
        ["events", source, key, "erase"] => event::erase(view, source, key, form).await,
        ["jobs"] => jobs::plan_job(view, form).await,
        ["jobs", id, "run"] => jobs::run(view, id, form).await,
        ["jobs", id, "cancel"] => jobs::cancel(view, id).await,
        ["settings"] => Ok(settings::change(view, form)),
        ["sign-out"] => Ok(sign_in::sign_out(view)),
        _ => Err(Problem::no_such_path()),
    }
}

/// The fields of a form.
#[derive(Debug)]
pub(crate) struct Form(Vec<(String, String)>);

impl Form {
    /// Parses a body of `application/x-www-form-urlencoded`.
    pub(crate) fn parse(body: &[u8]) -> Self {
        Self(form_urlencoded::parse(body).into_owned().collect())
    }

    /// The first field of this name.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields(name).next()
    }

    /// All fields of this name: those of checkboxes.
    pub(crate) fn fields(&self, name: &str) -> impl Iterator<Item = &str> {
        let fields = self.0.iter().filter(move |(field, _)| field == name);
        fields.map(|(_, value)| value.as_str())
    }
}
