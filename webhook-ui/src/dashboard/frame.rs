//! The frame of all pages: navigation, top bar, banners, messages, and the headers of the answers.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION,
    REFERRER_POLICY, SET_COOKIE, VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::request::Parts;
use http::{Response, StatusCode};
use maud::{DOCTYPE, Markup, html};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::assets::{DEFAULT_COLOR, HTMX, SCRIPT, STYLE, icon_path, is_color};
use super::components::{Shape, ago, form_token, icon};
use super::destinations::Condition;
use super::settings::Settings;
use super::snapshot::{Numbers, Snapshot};
use super::{destinations, sources};
use crate::session::{Visitor, named_cookie};
use crate::{Caller, Problem, Ui, UiBody};

/// What browsers may load and do on a page: only what this service serves. `trusted-types` names the policy of
/// `dashboard.js`.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; \
     frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types dashboard";

/// The name of the cookie with the message that the next page shows.
const FLASH_COOKIE: &str = "webhook-flash";

/// The longest message, in characters.
const MAX_FLASH_CHARS: usize = 500;

/// How many outages have banners of their own.
const MAX_OUTAGES: usize = 4;

/// A screen of the navigation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Screen {
    Overview,
    Events,
    Failed,
    Refused,
    Sources,
    Destinations,
    Workers,
    Jobs,
    Audit,
    Api,
}

impl Screen {
    const ALL: [Self; 10] = [
        Self::Overview,
        Self::Events,
        Self::Failed,
        Self::Refused,
        Self::Sources,
        Self::Destinations,
        Self::Workers,
        Self::Jobs,
        Self::Audit,
        Self::Api,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Events => "Events",
            Self::Failed => "Failed",
            Self::Refused => "Refused",
            Self::Sources => "Sources",
            Self::Destinations => "Destinations",
            Self::Workers => "Workers",
            Self::Jobs => "Jobs",
            Self::Audit => "Audit",
            Self::Api => "API",
        }
    }

    /// Whether a caller may see it. Workers are those of all sources.
    const fn is_for(self, caller: &Caller) -> bool {
        !matches!(self, Self::Workers) || caller.source.is_none()
    }

    /// The path below the dashboard.
    const fn path(self) -> &'static str {
        match self {
            Self::Overview => "",
            Self::Events => "/events",
            Self::Failed => "/failed",
            Self::Refused => "/refused",
            Self::Sources => "/sources",
            Self::Destinations => "/destinations",
            Self::Workers => "/workers",
            Self::Jobs => "/jobs",
            Self::Audit => "/audit",
            Self::Api => "/api",
        }
    }

    /// The key that opens it after `g`.
    const fn key(self) -> char {
        match self {
            Self::Overview => 'o',
            Self::Events => 'e',
            Self::Failed => 'f',
            Self::Refused => 'r',
            Self::Sources => 's',
            Self::Destinations => 'd',
            Self::Workers => 'w',
            Self::Jobs => 'j',
            Self::Audit => 'a',
            Self::Api => 'i',
        }
    }
}

/// What the content of a page does when something has happened. Its outages and warnings are always those of now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Live {
    /// Nothing: the page shows a moment.
    Off,
    /// It loads its content again, at most every two seconds, if these numbers have changed.
    Reload(Numbers),
    /// It loads its content again about every four seconds, whether they have changed or not.
    Always,
    /// The element with the id `new-events` shows how many events are new since its `data-events`.
    Count,
}

impl Live {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Reload(_) => "reload",
            Self::Always => "always",
            Self::Count => "count",
        }
    }

    const fn numbers(self) -> Option<Numbers> {
        match self {
            Self::Reload(numbers) => Some(numbers),
            Self::Off | Self::Always | Self::Count => None,
        }
    }
}

/// A page.
pub(crate) struct Page {
    /// The screen that the navigation marks; `None` for pages beside the screens.
    pub(crate) screen: Option<Screen>,
    /// The title of the window. The content has the heading.
    pub(crate) title: String,
    pub(crate) live: Live,
    pub(crate) content: Markup,
}

/// Who asks for which page.
pub(crate) struct View<'a> {
    pub(crate) ui: &'a Ui,
    pub(crate) visitor: &'a Visitor,
    head: &'a Parts,
    /// The path below the dashboard.
    path: &'a str,
    pub(crate) settings: Settings,
    /// Read before everything else that the page shows: a page that is older than its version would miss a change.
    snapshot: Arc<Snapshot>,
}

impl<'a> View<'a> {
    pub(super) fn new(ui: &'a Ui, visitor: &'a Visitor, head: &'a Parts, path: &'a str) -> Self {
        Self {
            ui,
            visitor,
            head,
            path,
            settings: Settings::of(head),
            snapshot: ui.dashboard().snapshot(ui),
        }
    }

    /// The numbers of the page.
    pub(crate) fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// The link to a path below the dashboard, such as `/sources`, with its query.
    pub(crate) fn link(&self, path: &str) -> String {
        link(self.ui, path)
    }

    /// The link to a page that asks for something, and leads back here then.
    pub(crate) fn link_and_back(&self, path: &str) -> String {
        let to: String = form_urlencoded::byte_serialize(self.here().as_bytes()).collect();
        format!("{}?to={to}", self.link(path))
    }

    /// Where a page that asks for something leads back to: what [`link_and_back`](Self::link_and_back) has named, or `path`.
    pub(crate) fn back(&self, path: &str) -> String {
        let to = self.parameter("to").filter(|to| is_own(self.ui, to));
        to.unwrap_or_else(|| self.link(path))
    }

    /// The link to this page, with its query.
    pub(crate) fn here(&self) -> String {
        let query = self.query();
        let mark = if query.is_empty() { "" } else { "?" };
        self.link(&format!("{}{mark}{query}", self.path))
    }

    /// The query, without its question mark.
    pub(crate) fn query(&self) -> &str {
        self.head.uri.query().unwrap_or_default()
    }

    /// The first parameter of this name in the query.
    pub(crate) fn parameter(&self, name: &str) -> Option<String> {
        let mut parameters = form_urlencoded::parse(self.query().as_bytes());
        parameters
            .find(|(found, _)| found == name)
            .map(|(_, value)| value.into_owned())
    }

    /// The hidden field that each form needs.
    pub(crate) fn form_token(&self) -> Markup {
        form_token(&self.visitor.form_token)
    }

    pub(super) fn head(&self) -> &'a Parts {
        self.head
    }

    /// The answer with a page.
    pub(crate) async fn page(&self, page: Page) -> Response<UiBody> {
        self.frame().answer(StatusCode::OK, &page)
    }

    /// The answer with the outages and warnings of all pages, which their script asks for. It needs nothing but memory.
    pub(super) fn banners(&self) -> Response<UiBody> {
        html_answer(StatusCode::OK, self.frame().banners())
    }

    fn frame(&self) -> Frame<'_> {
        Frame {
            ui: self.ui,
            head: self.head,
            visitor: Some(self.visitor),
            here: self.here(),
            snapshot: Some(&self.snapshot),
        }
    }

    /// Goes on to a path below the dashboard, where the page shows `message`.
    pub(crate) fn redirect(&self, path: &str, message: &str) -> Response<UiBody> {
        let mut response = redirect(&self.link(path));
        let message: String = message.chars().take(MAX_FLASH_CHARS).collect();
        set_flash(&mut response, &message);
        response
    }

    /// Goes on to where a form was sent from, which its field `to` says, or to `path`.
    pub(crate) fn redirect_back(&self, to: Option<&str>, path: &str) -> Response<UiBody> {
        match to.filter(|to| is_own(self.ui, to)) {
            Some(to) => redirect(to),
            None => redirect(&self.link(path)),
        }
    }

    /// As [`redirect_back`](Self::redirect_back); the page shows `message`.
    pub(crate) fn redirect_back_with(
        &self,
        to: Option<&str>,
        path: &str,
        message: &str,
    ) -> Response<UiBody> {
        let mut response = self.redirect_back(to, path);
        let message: String = message.chars().take(MAX_FLASH_CHARS).collect();
        set_flash(&mut response, &message);
        response
    }
}

/// The link to a path below the dashboard.
pub(super) fn link(ui: &Ui, path: &str) -> String {
    format!("{}/dashboard{path}", ui.mount())
}

/// Whether a link leads to a page of this dashboard.
pub(super) fn is_own(ui: &Ui, to: &str) -> bool {
    let below = to.strip_prefix(&*link(ui, ""));
    below.is_some_and(|below| below.is_empty() || below.starts_with(['/', '?']))
        && to.starts_with('/')
        && !to.starts_with("//")
        && to.chars().all(|c| c.is_ascii_graphic() && c != '\\')
}

/// An answer that leads on with a GET.
pub(super) fn redirect(to: &str) -> Response<UiBody> {
    let mut response = Response::new(UiBody::default());
    *response.status_mut() = StatusCode::SEE_OTHER;
    if let Ok(to) = HeaderValue::try_from(to) {
        response.headers_mut().insert(LOCATION, to);
    }
    add_security(&mut response);
    response
}

fn set_flash(response: &mut Response<UiBody>, message: &str) {
    let value = utf8_percent_encode(message, NON_ALPHANUMERIC);
    let cookie = format!("{FLASH_COOKIE}={value}; Path=/; Max-Age=30; HttpOnly; SameSite=Strict");
    if let Ok(cookie) = HeaderValue::try_from(cookie) {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
}

/// Adds the headers that restrict what browsers do with a page.
pub(super) fn add_security(response: &mut Response<UiBody>) {
    let headers = response.headers_mut();
    let mut set = |name: HeaderName, value| headers.insert(name, HeaderValue::from_static(value));
    set(CONTENT_SECURITY_POLICY, POLICY);
    set(REFERRER_POLICY, "no-referrer");
    set(CACHE_CONTROL, "no-store");
    set(X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    );
    set(
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    );
}

/// The page of a problem. Somebody who is signed in sees the outages and warnings on it, since they may be its cause.
pub(super) fn problem_page(
    ui: &Ui,
    head: &Parts,
    visitor: Option<&Visitor>,
    problem: &Problem,
) -> Response<UiBody> {
    let page = Page {
        screen: None,
        title: problem.title().to_owned(),
        live: Live::Off,
        content: html! {
            h1 { (problem.title()) }
            p.lead { (problem.detail()) "." }
            p { a href=(link(ui, "")) { "Go to the overview" } }
        },
    };
    plain_page(ui, head, visitor, problem.status(), &page, Some(problem))
}

/// A page that needs nothing but memory.
pub(super) fn plain_page(
    ui: &Ui,
    head: &Parts,
    visitor: Option<&Visitor>,
    status: StatusCode,
    page: &Page,
    problem: Option<&Problem>,
) -> Response<UiBody> {
    let snapshot = visitor.map(|_| ui.dashboard().snapshot(ui));
    let frame = Frame {
        ui,
        head,
        visitor,
        here: link(ui, ""),
        snapshot: snapshot.as_deref(),
    };
    let mut response = frame.answer(status, page);
    if let Some(problem) = problem {
        problem.add_headers(response.headers_mut());
    }
    response
}

/// Whether the script of a page asks for its content only.
pub(super) fn wants_fragment(head: &Parts) -> bool {
    head.headers.contains_key("hx-request")
}

/// An answer with a page, or with a part of one.
fn html_answer(status: StatusCode, text: Markup) -> Response<UiBody> {
    let mut response = Response::new(UiBody::full(Bytes::from(text.into_string())));
    *response.status_mut() = status;
    add_security(&mut response);
    let headers = response.headers_mut();
    let html = HeaderValue::from_static("text/html; charset=utf-8");
    headers.insert(CONTENT_TYPE, html);
    headers.insert(VARY, HeaderValue::from_static("hx-request, cookie"));
    response
}

struct Frame<'a> {
    ui: &'a Ui,
    head: &'a Parts,
    visitor: Option<&'a Visitor>,
    here: String,
    snapshot: Option<&'a Snapshot>,
}

impl Frame<'_> {
    fn answer(&self, status: StatusCode, page: &Page) -> Response<UiBody> {
        let content = self.content(page);
        let mut has_flash = false;
        let text = if wants_fragment(self.head) {
            content
        } else {
            let flash = named_cookie(self.head, FLASH_COOKIE)
                .map(|it| percent_decode_str(it).decode_utf8_lossy());
            has_flash = flash.is_some();
            self.document(page, &content, flash.as_deref())
        };
        let mut response = html_answer(status, text);
        if has_flash {
            let gone = "webhook-flash=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict";
            let headers = response.headers_mut();
            headers.append(SET_COOKIE, HeaderValue::from_static(gone));
        }
        response
    }

    fn document(&self, page: &Page, content: &Markup, flash: Option<&str>) -> Markup {
        let info = self.ui.instance().info();
        let settings = Settings::of(self.head);
        // The name may be that of the machine, which is not for everybody.
        let name = info.name.as_deref().filter(|_| self.visitor.is_some());
        let name = name.unwrap_or("Webhook inbox");
        let color = info.color.as_deref().filter(|it| is_color(it));
        let asset = |path: String| link(self.ui, &path);
        html! {
            (DOCTYPE)
            html lang="en" data-theme=(settings.theme.as_str()) data-zone=(settings.zone.as_str())
                data-keys=(if settings.keys { "on" } else { "off" })
                data-base=(link(self.ui, ""))
            {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content=(settings.theme.schemes());
                    meta name="htmx-config" content=r#"{"includeIndicatorCSS":false,"history":false,"morphIgnore":["data-htmx-powered","open"]}"#;
                    title { (page.title) " · " (name) }
                    link rel="icon" type="image/svg+xml" href=(asset(icon_path(color)));
                    link rel="stylesheet" href=(asset(STYLE.path()));
                    script defer src=(asset(HTMX.path())) {}
                    script defer src=(asset(SCRIPT.path())) {}
                }
                body {
                    a.skip href="#main" { "Skip to the content" }
                    (self.bar(name, color, settings))
                    div.columns {
                        (self.navigation(page.screen))
                        div.content {
                            @if let Some(flash) = flash {
                                p.flash #flash role="status" { (flash) }
                            }
                            (content)
                        }
                    }
                    dialog #dialog aria-labelledby="dialog-title" {}
                    div #announce .unseen role="status" aria-live="polite" {}
                }
            }
        }
    }

    fn bar(&self, name: &str, color: Option<&str>, settings: Settings) -> Markup {
        html! {
            header.bar {
                a.menu href="#menu" { "Menu" }
                a.brand href=(link(self.ui, "")) {
                    // Attributes, since the policy allows no inline style.
                    svg.instance viewBox="0 0 8 20" width="8" height="20" aria-hidden="true" {
                        rect width="8" height="20" rx="3" fill=(color.unwrap_or(DEFAULT_COLOR)) {}
                    }
                    span #instance { (name) }
                }
                @if let Some(visitor) = self.visitor {
                    form.search role="search" method="get" action=(link(self.ui, "/events")) {
                        label.unseen for="search" { "Search events" }
                        input #search name="q" type="search" autocomplete="off" spellcheck="false"
                            placeholder="Search: a key, or source:… state:failed type:…" ;
                    }
                    button #live .plain type="button" data-state="off" data-press="." hidden aria-live="off"
                        title="Pause or resume live updates (.)"
                    {
                        span.live-shape aria-hidden="true" {}
                        span #live-text { "live" }
                    }
                    form.toggles method="post" action=(link(self.ui, "/settings")) {
                        (form_token(&visitor.form_token))
                        input type="hidden" name="to" value=(self.here);
                        @let theme = settings.theme.next();
                        button.plain #theme type="submit" name="theme" value=(theme.as_str()) data-press="t"
                            title={ "Theme: " (settings.theme.word()) ". Change to " (theme.word()) " (t)" }
                        { span.label { "Theme " } (settings.theme.word()) }
                        @let zone = settings.zone.other();
                        button.plain #zone type="submit" name="zone" value=(zone.as_str())
                            title={ "Times in " (settings.zone.word()) ". Change to " (zone.word()) }
                        { span.label { "Times " } (settings.zone.word()) }
                    }
                    (self.who(visitor))
                }
            }
        }
    }

    fn who(&self, visitor: &Visitor) -> Markup {
        let caller = &visitor.caller;
        let right = if caller.may_operate() {
            "may operate"
        } else {
            "may read"
        };
        html! {
            div.who #who {
                @if caller.is_anonymous {
                    span { "nobody had to sign in" }
                } @else {
                    span { strong { (caller.name) } " " (right)
                        @if let Some(source) = &caller.source { ", only " (source) }
                    }
                }
                @if visitor.is_signed_in {
                    form method="post" action=(link(self.ui, "/sign-out")) {
                        (form_token(&visitor.form_token))
                        button.plain #sign-out type="submit" { "Sign out" }
                    }
                }
                a #settings href=(link(self.ui, "/settings")) { "Settings" }
            }
        }
    }

    fn navigation(&self, current: Option<Screen>) -> Markup {
        let Some(visitor) = self.visitor else {
            return html! {};
        };
        let failed = self.snapshot.and_then(|it| it.failed(&visitor.caller));
        html! {
            nav #menu aria-label="Screens" {
                a.close href="#" { "Close the menu" }
                ul {
                    @for screen in Screen::ALL.into_iter().filter(|it| it.is_for(&visitor.caller)) {
                        li {
                            a href=(link(self.ui, screen.path()))
                                aria-current=[(Some(screen) == current).then_some("page")]
                                data-press={ "g " (screen.key()) }
                            {
                                (screen.name())
                                @if screen == Screen::Failed {
                                    " " span.count #failed-count { (failed.as_deref().unwrap_or_default()) }
                                }
                            }
                        }
                    }
                }
                p.version { (self.ui.instance().info().version) }
            }
        }
    }

    /// What the script of the page replaces.
    fn content(&self, page: &Page) -> Markup {
        let numbers = page.live.numbers();
        let version = match (numbers, self.snapshot, self.visitor) {
            (Some(numbers), Some(snapshot), Some(visitor)) => {
                Some(snapshot.version(self.ui, &visitor.caller, numbers))
            }
            _ => None,
        };
        html! {
            div #page data-live=(page.live.as_str()) data-numbers=[numbers.map(Numbers::as_str)] data-version=[version] {
                (self.banners())
                main #main tabindex="-1" {
                    (page.content)
                }
            }
        }
    }

    /// What does not work and what an operator should know, on each page. The script replaces it when that changes,
    /// whatever the content of the page does.
    fn banners(&self) -> Markup {
        let (Some(snapshot), Some(visitor)) = (self.snapshot, self.visitor) else {
            return html! {};
        };
        let outages = snapshot.outages();
        let warnings = warnings(self.ui, snapshot, visitor);
        html! {
            div #banners data-version=(snapshot.banners_version(&visitor.caller)) {
                @if !outages.is_empty() {
                    section.banners.bad #outages aria-label="Outages" {
                        @for outage in outages.iter().take(MAX_OUTAGES) {
                            p.banner {
                                (icon(Shape::Cross)) " "
                                (sentence(&format!("{}: {}", outage.problem, outage.effect)))
                                " Noticed " (ago(outage.since)) "."
                            }
                        }
                        @if outages.len() > MAX_OUTAGES {
                            p.banner {
                                (icon(Shape::Cross)) " And " (outages.len() - MAX_OUTAGES) " more of this kind."
                            }
                        }
                    }
                }
                @if !warnings.is_empty() {
                    section.banners aria-label="Warnings" {
                        @for warning in warnings {
                            p.banner { (icon(Shape::Triangle)) " " (warning) }
                        }
                    }
                }
            }
        }
    }
}

/// A warning, which the log has as a fragment, as a sentence.
fn sentence(warning: &str) -> String {
    let mut chars = warning.chars();
    let first = chars.next().into_iter().flat_map(char::to_uppercase);
    let mut sentence: String = first.chain(chars).collect();
    if !sentence.ends_with(['.', '!', '?']) {
        sentence.push('.');
    }
    sentence
}

/// What an operator should know on each page. Ages are those of instants, which the script of the page keeps true.
fn warnings(ui: &Ui, snapshot: &Snapshot, visitor: &Visitor) -> Vec<Markup> {
    let overview = &snapshot.overview;
    let mut warnings = Vec::new();
    if overview.instance.in_memory {
        warnings.push(html! {
            "Events are in memory only: they are lost when this process ends."
        });
    }
    if visitor.caller.source.is_none() {
        let configured = overview.instance.warnings.iter();
        warnings.extend(configured.map(|it| html! { (sentence(it)) }));
    }
    if let Some(sampled_at) = overview.sampled_at
        && snapshot.stale_seconds().is_some()
    {
        warnings.push(html! {
            "The numbers of events were counted " (ago(sampled_at)) ": the store did not answer the latest requests \
             for them."
        });
    }
    for source in snapshot.sources(&visitor.caller) {
        let name = &source.info.name;
        if let Some(since) = source.info.silent_since {
            warnings.push(html! {
                a href=(link(ui, &sources::path(name))) { (name) }
                " has received nothing for longer than expected: the silence began " (ago(since)) "."
            });
        }
    }
    for destination in snapshot.destinations(&visitor.caller) {
        let source = &destination.source;
        let what = match Condition::of(destination) {
            Condition::Open => html! { "fails: its circuit breaker is open, and its events wait." },
            Condition::Gone => html! {
                "answered 410" @if let Some(since) = destination.paused_since { " " (ago(since)) }
                ": it is paused, and its events wait until somebody resumes it."
            },
            _ => continue,
        };
        warnings.push(html! {
            a href=(link(ui, &destinations::path(source))) { "The destination of " (source) } " " (what)
        });
    }
    warnings
}
