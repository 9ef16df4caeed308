//! Signing in with a token, and out.

use http::header::SET_COOKIE;
use http::request::Parts;
use http::{Response, StatusCode};
use maud::html;

use super::Form;
use super::frame::{
    Live, Page, View, is_own, link, plain_page, problem_page, redirect, wants_fragment,
};
use crate::session::{self, Visitor};
use crate::{Problem, Ui, UiBody};

/// Answers a request to the page for signing in.
pub(super) fn respond(
    ui: &Ui,
    head: &Parts,
    visitor: Option<&Visitor>,
    form: Option<&Form>,
) -> Response<UiBody> {
    let Some(form) = form else {
        let query = head.uri.query().unwrap_or_default();
        let mut parameters = form_urlencoded::parse(query.as_bytes());
        let to = parameters.find(|(name, _)| name == "to");
        let to = to.map(|(_, to)| to.into_owned());
        return page(ui, head, visitor, StatusCode::OK, to.as_deref(), None);
    };
    let to = form.field("to").filter(|to| is_own(ui, to));
    match session::sign_in(ui, form.field("token").unwrap_or_default(), head) {
        Ok(cookie) => {
            let mut response = redirect(to.unwrap_or(&link(ui, "")));
            response.headers_mut().append(SET_COOKIE, cookie);
            response
        }
        Err(problem) => page(ui, head, visitor, problem.status(), to, Some(&problem)),
    }
}

/// Asks somebody without a session to sign in, if that is what is missing.
pub(super) fn ask(ui: &Ui, head: &Parts, problem: &Problem) -> Response<UiBody> {
    if problem.status() != StatusCode::UNAUTHORIZED {
        return problem_page(ui, head, None, problem);
    }
    let path = head.uri.path_and_query().map_or("", |it| it.as_str());
    let path = if path.starts_with(&link(ui, "")) {
        path.to_owned()
    } else {
        // A router has removed the mount.
        format!("{}{path}", ui.mount())
    };
    // Forms and streams are nothing to come back to.
    let is_page = head.method != http::Method::POST && !wants_fragment(head);
    let to = is_page.then_some(&*path).filter(|to| is_own(ui, to));
    page(ui, head, None, StatusCode::UNAUTHORIZED, to, None)
}

fn page(
    ui: &Ui,
    head: &Parts,
    visitor: Option<&Visitor>,
    status: StatusCode,
    to: Option<&str>,
    problem: Option<&Problem>,
) -> Response<UiBody> {
    let content = html! {
        div.sign-in {
            h1 { "Sign in" }
            @if let Some(problem) = problem {
                p.error #sign-in-error role="alert" {
                    @if problem.status() == StatusCode::UNAUTHORIZED {
                        "There is no such token, or it has expired, or its scope is not read or operate."
                    } @else {
                        (problem.detail()) "."
                    }
                }
            }
            form.stack method="post" action=(link(ui, "/sign-in")) {
                @if let Some(visitor) = visitor {
                    input type="hidden" name="form_token" value=(visitor.form_token);
                }
                @if let Some(to) = to {
                    input type="hidden" name="to" value=(to);
                }
                label for="token" { "Token" }
                input #token name="token" type="password" autocomplete="current-password" required
                    aria-describedby="token-hint";
                p.hint #token-hint {
                    "The token of an operator. You stay signed in for 12 hours at most, and for 30 minutes \
                     without looking at a page."
                }
                p { button #sign-in type="submit" { "Sign in" } }
            }
        }
    };
    let page = Page {
        screen: None,
        title: "Sign in".to_owned(),
        live: Live::Off,
        content,
    };
    // The frame without a visitor: who is not signed in sees no screens.
    plain_page(ui, head, None, status, &page, problem)
}

/// Ends the session.
pub(super) fn sign_out(view: &View<'_>) -> Response<UiBody> {
    let cookie = session::sign_out(view.ui, view.head());
    let mut response = redirect(&view.link("/sign-in"));
    response.headers_mut().append(SET_COOKIE, cookie);
    response
}
