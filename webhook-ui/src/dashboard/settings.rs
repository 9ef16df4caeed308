//! What a visitor has chosen about how pages look. It is kept in a cookie.

use http::Response;
use http::header::{HeaderValue, SET_COOKIE};
use http::request::Parts;
use maud::html;

use super::Form;
use super::frame::{Live, Page, View};
use crate::UiBody;
use crate::session::named_cookie;

/// The name of the cookie. It has no secret, and scripts need not read it.
const COOKIE: &str = "webhook-view";

/// How long browsers keep the cookie, in seconds: a year.
const COOKIE_SECONDS: u32 = 365 * 24 * 60 * 60;

/// The colours of pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Theme {
    /// Those of the system.
    #[default]
    System,
    Light,
    Dark,
}

impl Theme {
    const ALL: [Self; 3] = [Self::System, Self::Light, Self::Dark];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }

    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::System => "System",
            Self::Light => "Light",
            Self::Dark => "Dark",
        }
    }

    /// The value of `color-scheme`.
    pub(super) const fn schemes(self) -> &'static str {
        match self {
            Self::System => "light dark",
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }

    pub(super) const fn next(self) -> Self {
        match self {
            Self::System => Self::Light,
            Self::Light => Self::Dark,
            Self::Dark => Self::System,
        }
    }
}

/// The time zone that times are shown in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Zone {
    #[default]
    Utc,
    /// That of the browser. Without scripts it is not known, and times stay in UTC.
    Local,
}

impl Zone {
    const ALL: [Self; 2] = [Self::Utc, Self::Local];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Utc => "utc",
            Self::Local => "local",
        }
    }

    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Utc => "UTC",
            Self::Local => "Local",
        }
    }

    pub(super) const fn other(self) -> Self {
        match self {
            Self::Utc => Self::Local,
            Self::Local => Self::Utc,
        }
    }
}

/// What a visitor has chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(super) theme: Theme,
    pub(super) zone: Zone,
    /// Whether single keys do something.
    pub(super) keys: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            theme: Theme::default(),
            zone: Zone::default(),
            keys: true,
        }
    }
}

impl Settings {
    /// Those of a request. What cannot be understood counts as not chosen.
    pub(super) fn of(head: &Parts) -> Self {
        let mut settings = Self::default();
        for word in named_cookie(head, COOKIE).unwrap_or_default().split('.') {
            settings.set(word);
        }
        settings
    }

    /// Sets what the word is of.
    fn set(&mut self, word: &str) {
        if let Some(theme) = Theme::ALL.into_iter().find(|it| it.as_str() == word) {
            self.theme = theme;
        } else if let Some(zone) = Zone::ALL.into_iter().find(|it| it.as_str() == word) {
            self.zone = zone;
        } else if matches!(word, "keys" | "nokeys") {
            self.keys = word == "keys";
        }
    }

    fn set_cookie(self) -> String {
        let (theme, zone) = (self.theme.as_str(), self.zone.as_str());
        let keys = if self.keys { "keys" } else { "nokeys" };
        format!(
            "{COOKIE}={theme}.{zone}.{keys}; Path=/; Max-Age={COOKIE_SECONDS}; HttpOnly; SameSite=Strict"
        )
    }
}

/// The keys and what they do, for the page and for the dialog that `?` opens.
const KEYS: [(&[&str], &str); 19] = [
    (&["g o"], "Overview"),
    (&["g e"], "Events"),
    (&["g f"], "Failed"),
    (&["g r"], "Refused"),
    (&["g s"], "Sources"),
    (&["g d"], "Destinations"),
    (&["g w"], "Workers"),
    (&["g j"], "Jobs"),
    (&["g a"], "Audit"),
    (&["g i"], "API"),
    (&["/"], "Search"),
    (&["j", "k"], "Next row, previous row"),
    (&["x", "Shift x", "*"], "Select a row, a range, all"),
    (&["Enter", "Esc"], "Open the row, go back"),
    (&["r"], "Requeue"),
    (&["y", "c"], "Copy the key, copy as cURL"),
    (&["."], "Pause or resume live updates"),
    (&["t"], "Change the theme"),
    (&["?"], "Show the keys"),
];

/// The page with all that can be chosen.
pub(super) async fn show(view: &View<'_>) -> Response<UiBody> {
    let settings = view.settings;
    let content = html! {
        h1 #dialog-title { "Settings" }
        form.stack method="post" action=(view.link("/settings")) {
            (view.form_token())
            input type="hidden" name="to" value=(view.back("/settings"));
            fieldset {
                legend { "Theme" }
                @for theme in Theme::ALL {
                    label.choice {
                        input type="radio" name="theme" value=(theme.as_str()) checked[theme == settings.theme];
                        (theme.word())
                    }
                }
            }
            fieldset {
                legend { "Time zone" }
                @for zone in Zone::ALL {
                    label.choice {
                        input type="radio" name="zone" value=(zone.as_str()) checked[zone == settings.zone];
                        (zone.word())
                        @if zone == Zone::Local { " (needs scripts)" }
                    }
                }
            }
            fieldset {
                legend { "Keys" }
                @for (value, word, is_on) in [("keys", "On", true), ("nokeys", "Off", false)] {
                    label.choice {
                        input type="radio" name="keys" value=(value) checked[is_on == settings.keys];
                        (word)
                    }
                }
            }
            p { button #save type="submit" { "Save" } }
        }
        h2 { "Keys" }
        dl.keys {
            @for (keys, meaning) in KEYS {
                div { dt { @for key in keys { kbd { (key) } } } dd { (meaning) } }
            }
        }
    };
    view.page(Page {
        screen: None,
        title: "Settings".to_owned(),
        live: Live::Off,
        content,
    })
    .await
}

/// Keeps what was chosen.
pub(super) fn change(view: &View<'_>, form: &Form) -> Response<UiBody> {
    let mut settings = view.settings;
    for name in ["theme", "zone", "keys"] {
        settings.set(form.field(name).unwrap_or_default());
    }
    let mut response = view.redirect_back(form.field("to"), "/settings");
    if let Ok(cookie) = HeaderValue::try_from(settings.set_cookie()) {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    response
}
