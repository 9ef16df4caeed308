//! Checks a specification, apart from its scheme and its handshakes.

use crate::error::InvalidSource;
use crate::handshake::{hidden_secrets, is_header_value, is_method, shown_secrets};
use crate::identity::{differs_within_request, places};
use crate::spec::{Guard, IdRule, Place, Scheme, SourceSpec};
use crate::{MAX_KEPT_HEADERS, Secrets};

/// Statuses of refusals that make some senders give up for good.
const DISABLING: [u16; 4] = [403, 404, 406, 410];

/// Adds everything that is wrong to `problems`.
pub(super) fn check(spec: &SourceSpec, secrets: &Secrets, problems: &mut Vec<InvalidSource>) {
    let mut check = Check { problems };
    check.answers(spec);
    check.methods(spec);
    check.events(spec);
    check.headers(spec);
    check.secrets(spec, secrets);
    check.settings(spec);
}

struct Check<'p> {
    problems: &'p mut Vec<InvalidSource>,
}

impl Check<'_> {
    fn wrong(&mut self, setting: &str, value: impl ToString, expected: &'static str) {
        self.problems.push(InvalidSource::Setting {
            setting: setting.to_owned(),
            value: value.to_string(),
            expected,
        });
    }

    fn answers(&mut self, spec: &SourceSpec) {
        let answer = &spec.answer;
        if !(200..300).contains(&answer.status) {
            self.wrong("answer.status", answer.status, "200 to 299");
        }
        if let Some(content_type) = &answer.content_type
            && !is_header_value(content_type)
        {
            self.wrong("answer.content_type", content_type, "a media type");
        }
        let status = spec.refused_status;
        if !(400..600).contains(&status) || DISABLING.contains(&status) {
            self.wrong(
                "refused_status",
                status,
                "400 to 599 without 403, 404, 406 and 410, which make some senders give up",
            );
        }
    }

    fn methods(&mut self, spec: &SourceSpec) {
        if spec.methods.is_empty() {
            self.wrong("methods", "", "at least one method, such as POST");
        }
        for method in &spec.methods {
            if !is_method(method) || method == "HEAD" || method == "OPTIONS" {
                self.wrong(
                    "methods",
                    method,
                    "methods in upper case that may have a body or a query, such as POST",
                );
            }
        }
    }

    fn events(&mut self, spec: &SourceSpec) {
        let named = spec.event_type.iter().map(|place| ("event_type", place));
        let ids = places(&spec.id).into_iter().map(|place| ("id", place));
        for (setting, place) in ids.chain(named) {
            match place {
                Place::Item(_) => self.wrong(
                    setting,
                    place,
                    "header:NAME, json:/POINTER, form:FIELD or query:NAME",
                ),
                Place::Header(name) if name.contains("{n}") => {
                    self.wrong(setting, place, "the name of one header");
                }
                _ => {}
            }
        }
        if let Some(pointer) = &spec.split {
            if pointer.tokens().next().is_none() {
                self.wrong("split", pointer, "where the events are, such as /events/*");
            } else if pointer.tokens().any(|token| token == "*")
                && !differs_within_request(&spec.id)
            {
                self.problems.push(InvalidSource::SameId);
            }
        }
        if spec.guard != Guard::None && spec.id == IdRule::Generated {
            self.wrong(
                "guard",
                "set",
                "none with id = \"generated\", where equal bodies are different events",
            );
        }
    }

    fn headers(&mut self, spec: &SourceSpec) {
        if spec.keep_headers.len() > MAX_KEPT_HEADERS / 2 {
            self.wrong("keep_headers", spec.keep_headers.len(), "at most 16 names");
        }
        let mut hidden = Vec::new();
        secret_headers(&spec.scheme, &mut hidden);
        let mut named: Vec<String> = spec.keep_headers.clone();
        for place in places(&spec.id).into_iter().chain(&spec.event_type) {
            if let Place::Header(name) = place {
                named.push(name.clone());
            }
        }
        for name in named {
            if format!("header:{name}").parse::<Place>().is_err() || name.contains("{n}") {
                self.wrong("keep_headers", &name, "names of headers");
            }
            if hidden.iter().any(|it| it.eq_ignore_ascii_case(&name)) {
                self.problems
                    .push(InvalidSource::KeptSecret { header: name });
            }
        }
    }

    fn settings(&mut self, spec: &SourceSpec) {
        let known = spec.scheme.setting_names();
        for name in spec.settings.keys() {
            if !known.contains(&name.as_str()) {
                self.problems
                    .push(InvalidSource::UnknownSetting { name: name.clone() });
            }
        }
    }

    fn secrets(&mut self, spec: &SourceSpec, secrets: &Secrets) {
        let mut hidden = spec.scheme.secret_names();
        hidden.extend(spec.handshakes.iter().flat_map(hidden_secrets));
        let shown: Vec<&str> = spec.handshakes.iter().flat_map(shown_secrets).collect();
        for &name in &shown {
            if hidden.contains(&name) {
                self.problems.push(InvalidSource::ShownSecret {
                    name: name.to_owned(),
                });
            }
        }
        for name in secrets.names() {
            if !hidden.contains(&name) && !shown.contains(&name) {
                self.problems.push(InvalidSource::UnknownSecret {
                    name: name.to_owned(),
                });
            }
        }
    }
}

impl SourceSpec {
    /// The names of the secrets that the scheme and the handshakes take, each once, in alphabetical order.
    pub fn secret_names(&self) -> Vec<&str> {
        let mut names = self.scheme.secret_names();
        names.extend(self.handshakes.iter().flat_map(hidden_secrets));
        names.extend(self.handshakes.iter().flat_map(shown_secrets));
        names.sort_unstable();
        names.dedup();
        names
    }
}

/// The names of the headers that hold a token or a password.
fn secret_headers<'s>(scheme: &'s Scheme, headers: &mut Vec<&'s str>) {
    match scheme {
        Scheme::Token(token) => {
            if let Place::Header(name) = &token.at {
                headers.push(name);
            }
        }
        Scheme::Jwt(jwt) => {
            if let Place::Header(name) = &jwt.at {
                headers.push(name);
            }
        }
        Scheme::Basic(_) => headers.push("authorization"),
        Scheme::AnyOf(schemes) | Scheme::AllOf(schemes) => {
            for scheme in schemes {
                secret_headers(scheme, headers);
            }
        }
        _ => {}
    }
}
