//! What operators do to one event.

use http::Response;
use maud::html;
use webhook_core::{EventRef, RunningLeases};

use super::{named, path_of};
use crate::dashboard::Form;
use crate::dashboard::frame::{Live, Page, Screen, View};
use crate::{Problem, UiBody, actions, data};

/// Requeues a FAILED event.
pub(in crate::dashboard) async fn requeue(
    view: &View<'_>,
    source: &str,
    id: &str,
    form: &Form,
) -> Result<Response<UiBody>, Problem> {
    let event = named(source, id)?;
    let done = actions::requeue(view.ui, &view.visitor.caller, &event).await;
    finish(
        view,
        form,
        &event,
        done.map(|_| "The event is requeued: it is due now."),
    )
    .await
}

/// Makes a waiting event due.
pub(in crate::dashboard) async fn make_due(
    view: &View<'_>,
    source: &str,
    id: &str,
    form: &Form,
) -> Result<Response<UiBody>, Problem> {
    let event = named(source, id)?;
    let done = actions::make_due(view.ui, &view.visitor.caller, &event, RunningLeases::Keep).await;
    finish(view, form, &event, done.map(|_| "The event is due now.")).await
}

/// Goes back to where the form was, with what happened. That the state of the event does not allow the action is no error
/// page: somebody else was faster.
async fn finish(
    view: &View<'_>,
    form: &Form,
    event: &EventRef,
    done: Result<&str, Problem>,
) -> Result<Response<UiBody>, Problem> {
    view.ui.dashboard().refresh().await;
    let message = match &done {
        Ok(message) => (*message).to_owned(),
        Err(problem) if problem.status().as_u16() == 409 => format!("{}.", problem.detail()),
        Err(problem) => return Err(problem.clone()),
    };
    Ok(view.redirect_back_with(form.field("to"), &path_of(event), &message))
}

/// The page that asks whether to erase the body.
pub(in crate::dashboard) async fn ask_to_erase(
    view: &View<'_>,
    source: &str,
    id: &str,
) -> Result<Response<UiBody>, Problem> {
    let event = named(source, id)?;
    let caller = &view.visitor.caller;
    caller.check_operate()?;
    data::event(view.ui, caller, &event, false).await?;
    let path = path_of(&event);
    let to = view.back(&path);
    let content = html! {
        h1 #dialog-title { "Erase the body of " (event.key) "?" }
        p { "The headers and the body are deleted, and those of its conflicts and attempts. The key stays, so that redeliveries "
            "are still known. " strong { "This cannot be undone." } }
        form.stack #erase-form method="post" action=(view.link(&format!("{path}/erase"))) {
            (view.form_token())
            input type="hidden" name="to" value=(to);
            label for="typed-key" { "Type the key, " strong { code { (event.key) } } ", to confirm" }
            input #typed-key name="key" autocomplete="off" autocapitalize="off" spellcheck="false" required;
            p {
                button.danger #confirm-erase type="submit" { "Erase the body" }
                " "
                a.button.quiet data-close href=(to) { "Cancel" }
            }
        }
    };
    let page = Page {
        screen: Some(Screen::Events),
        title: "Erase a body".to_owned(),
        live: Live::Off,
        content,
    };
    Ok(view.page(page).await)
}

/// Erases the body, if the key was typed.
pub(in crate::dashboard) async fn erase(
    view: &View<'_>,
    source: &str,
    id: &str,
    form: &Form,
) -> Result<Response<UiBody>, Problem> {
    let event = named(source, id)?;
    if form.field("key").map(str::trim) != Some(event.key.as_str().trim()) {
        let path = format!("{}/erase", path_of(&event));
        return Ok(view.redirect(
            &path,
            "The typed key is not the key of the event. Nothing was erased.",
        ));
    }
    let done = actions::erase(view.ui, &view.visitor.caller, &event).await;
    finish(view, form, &event, done.map(|()| "The body is erased.")).await
}
