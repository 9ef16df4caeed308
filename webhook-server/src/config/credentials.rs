//! Reads secrets of senders, digests of tokens and the database URL from variables and files.

use std::path::Path;
use std::sync::Arc;

use webhook_sources::spec::Tolerance;
use webhook_sources::{InvalidSource, SecretLength, SecretProblem};
use webhook_ui::Tokens;
use zeroize::Zeroizing;

use super::files::{self, FileError, Guard};
use super::secret::Secrets;
use super::{Config, DatabaseUrl, text, values};
use crate::http::{AuthConfig, Senders, TokenDigest, Verifier};

/// The prefixes of secrets of the Standard Webhooks specification.
const PREFIXES: [&str; 3] = ["whsec_", "whsk_", "whpk_"];

/// Secrets that documents of this project and of Standard Webhooks print.
const PUBLISHED_SECRETS: [&str; 2] = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_..."];

impl Config {
    /// The secrets and tokens as they are now, and who may make requests without them. Blocks while it
    /// reads files.
    ///
    /// # Errors
    ///
    /// When a file cannot be read, or a file or a variable contains anything but secrets or tokens. No
    /// error quotes them.
    pub fn auth_config(&self) -> Result<AuthConfig, SecretsError> {
        Ok(AuthConfig {
            senders: self.verifier()?,
            tokens: self.tokens()?,
            anonymous_access: self.anonymous_access(),
        })
    }

    /// The database URL, from its variable or its file. Blocks while it reads the file.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or does not contain exactly one line. The URLs of partitions may have a line
    /// each.
    pub fn read_database_url(&self) -> Result<Option<DatabaseUrl>, SecretsError> {
        let Some(path) = &self.database_url_file else {
            return Ok(self.database_url.clone());
        };
        let name = "DATABASE_URL_FILE";
        let text = files::read(name, path, Guard::Secret)?;
        let urls = text::lines(&text)
            .map(|(_, line)| text::value(text::assigned("DATABASE_URL", line).unwrap_or(line)));
        let urls: Vec<_> = urls.collect();
        match urls[..] {
            [] => Err(SecretsError::NotOneLine { name }),
            [_, _, ..] if self.partitions.get() == 1 => Err(SecretsError::NotOneLine { name }),
            _ => Ok(Some(urls.join(" ").into())),
        }
    }

    fn tokens(&self) -> Result<Option<Tokens>, SecretsError> {
        let (variable, file) = (self.api_tokens.as_ref(), self.api_tokens_file.as_deref());
        let names = ["API_TOKENS", "API_TOKENS_FILE"];
        let Some((name, text)) = read(names, variable, file, Guard::Trust)? else {
            return Ok(None);
        };
        // No token contains a backslash.
        let text = Zeroizing::new(text.replace("\\n", "\n"));
        let mut tokens = Vec::new();
        for (line, content) in text::lines(&text) {
            if content.starts_with('#') {
                continue;
            }
            let content = unassigned(&names, content);
            for word in values::words(content) {
                let token = digest(text::value(word));
                tokens.push(token.map_err(|expected| SecretsError::Token {
                    name,
                    line,
                    expected,
                })?);
            }
        }
        if tokens.is_empty() {
            return Err(SecretsError::NoToken { name });
        }
        Ok(Some(Tokens::new(tokens)))
    }

    fn verifier(&self) -> Result<Option<Arc<dyn Verifier>>, SecretsError> {
        let Some(mut scheme) = self.webhook_signature_scheme.scheme() else {
            return Ok(None);
        };
        let tolerance = Tolerance::Within(self.webhook_tolerance_seconds);
        scheme.each_time(&mut |time| time.tolerance = tolerance);
        let secrets = self.secrets()?;
        if secrets.is_empty() {
            return Err(SecretsError::NoSecret);
        }
        let length = if self.insecure {
            SecretLength::Unchecked
        } else {
            SecretLength::Checked
        };
        let senders = Senders::new(&scheme, &secrets, length)?;
        Ok(Some(Arc::new(senders)))
    }

    /// The secrets of senders, one per line.
    fn secrets(&self) -> Result<Vec<Zeroizing<String>>, SecretsError> {
        let (variable, file) = (
            self.webhook_secrets.as_ref(),
            self.webhook_secrets_file.as_deref(),
        );
        let secrets = lines(["WEBHOOK_SECRETS", "WEBHOOK_SECRETS_FILE"], variable, file)?;
        Ok(secrets.unwrap_or_default())
    }

    /// The variables of secrets that documents print as examples. Blocks while it reads files.
    pub(crate) fn published_secrets(&self) -> Vec<&'static str> {
        let of = [
            ("WEBHOOK_SECRETS", self.secrets()),
            ("FORWARD_SECRETS", self.forward_keys()),
        ];
        let is_published = |secrets: &[Zeroizing<String>]| {
            let mut secrets = secrets.iter();
            secrets.any(|secret| PUBLISHED_SECRETS.contains(&secret.trim()))
        };
        let of = of.into_iter();
        of.filter(|(_, secrets)| secrets.as_ref().is_ok_and(|it| is_published(it)))
            .map(|(variable, _)| variable)
            .collect()
    }

    /// What is wrong with the access to the files of secrets. Blocks while it reads them.
    pub(crate) fn exposed_files(&self) -> Vec<String> {
        [
            ("DATABASE_URL_FILE", &self.database_url_file, Guard::Secret),
            (
                "WEBHOOK_SECRETS_FILE",
                &self.webhook_secrets_file,
                Guard::Secret,
            ),
            ("API_TOKENS_FILE", &self.api_tokens_file, Guard::Secret),
            (
                "FORWARD_SECRETS_FILE",
                &self.forward_secrets_file,
                Guard::Secret,
            ),
            ("TLS_KEY_FILE", &self.tls.tls_key_file, Guard::Secret),
            ("TLS_CERT_FILE", &self.tls.tls_cert_file, Guard::Trust),
            ("CONFIG_FILE", &self.config_file, Guard::Trust),
        ]
        .into_iter()
        .filter_map(|(name, path, guard)| {
            let file = files::read_quietly(name, path.as_deref()?, guard).ok()?;
            file.exposure
        })
        .collect()
    }

    /// The keys that sign what is forwarded, one per line; none if neither variable is set. Blocks while it reads the
    /// file.
    pub(super) fn forward_keys(&self) -> Result<Vec<Zeroizing<String>>, SecretsError> {
        let (variable, file) = (
            self.forward_secrets.as_ref(),
            self.forward_secrets_file.as_deref(),
        );
        match lines(["FORWARD_SECRETS", "FORWARD_SECRETS_FILE"], variable, file)? {
            None => Ok(Vec::new()),
            Some(keys) if keys.is_empty() => Err(SecretsError::NoSigningKey),
            Some(keys) => Ok(keys),
        }
    }
}

/// The secrets of the variable, or of the file that is set instead, one per line.
fn lines(
    names: [&'static str; 2],
    variable: Option<&Secrets>,
    file: Option<&Path>,
) -> Result<Option<Vec<Zeroizing<String>>>, SecretsError> {
    let Some((name, text)) = read(names, variable, file, Guard::Secret)? else {
        return Ok(None);
    };
    let secrets = secrets_in(&text, &names).map_err(|(line, problem)| SecretsError::Line {
        name,
        line,
        problem,
    })?;
    Ok(Some(secrets))
}

/// The secrets in `text`, one per line, which may be lines of an env file that set one of `names`. On an
/// error: the number of its line, from 1, and what is wrong with it.
pub(super) fn secrets_in(
    text: &str,
    names: &[&str],
) -> Result<Vec<Zeroizing<String>>, (usize, LineProblem)> {
    let lines = text::lines(without_outer_quotes(text));
    lines
        .map(|(line, content)| {
            secret_of(unassigned(names, content)).map_err(|problem| (line, problem))
        })
        .collect()
}

/// Parses a digest, and recognises a token in its place.
fn digest(word: &str) -> Result<TokenDigest, String> {
    if word.starts_with("wht_") {
        return Err(
            "this is a token; set its digest, which `webhook-server token` printed \
                    below it"
                .to_owned(),
        );
    }
    word.parse()
}

/// The content of the variable, or of the file that is set instead, and which of `names` it is from.
fn read(
    names: [&'static str; 2],
    variable: Option<&Secrets>,
    file: Option<&Path>,
    guard: Guard,
) -> Result<Option<(&'static str, Zeroizing<String>)>, SecretsError> {
    if let Some(path) = file {
        let text = files::read(names[1], path, guard)?;
        return Ok(Some((names[1], text)));
    }
    let Some(variable) = variable else {
        return Ok(None);
    };
    let text = text::decode(variable.expose().as_bytes());
    let text = text.map_err(|_| SecretsError::Nul { name: names[0] })?;
    Ok(Some((names[0], text)))
}

/// The value in `line`, if it is a line of an env file that sets one of `names`; otherwise `line`.
fn unassigned<'a>(names: &[&str], line: &'a str) -> &'a str {
    let mut values = names.iter().filter_map(|name| text::assigned(name, line));
    values.next().unwrap_or(line)
}

/// `text` without quotation marks that enclose several lines.
fn without_outer_quotes(text: &str) -> &str {
    let trimmed = text::trim(text);
    match text::unquoted(trimmed) {
        Some(inner) if inner.contains('\n') && !inner.contains(['"', '\'']) => inner,
        _ => text,
    }
}

/// The secret in a line. In quotation marks it may look like anything.
fn secret_of(line: &str) -> Result<Zeroizing<String>, LineProblem> {
    let quoted = text::unquoted(line);
    let secret = quoted.unwrap_or(line);
    let problem = if secret.contains(text::is_unseen) {
        LineProblem::Unseen
    } else if is_list(secret) {
        LineProblem::List
    } else if quoted.is_some() {
        return Ok(Zeroizing::new(secret.to_owned()));
    } else if text::has_lone_quote(line) {
        LineProblem::Quote
    } else if text::is_assignment(line) {
        LineProblem::Assignment
    } else if line.starts_with("{\"") || line.starts_with("[\"") {
        LineProblem::Json
    } else {
        return Ok(Zeroizing::new(secret.to_owned()));
    };
    Err(problem)
}

/// Whether `secret` looks like several secrets in one line.
fn is_list(secret: &str) -> bool {
    let spread = Zeroizing::new(secret.replace("\\n", "\n"));
    let parts = spread.split(|c: char| c.is_whitespace() || [',', ';', '|'].contains(&c));
    let marked = parts.filter(|part| PREFIXES.iter().any(|prefix| part.starts_with(prefix)));
    marked.count() > 1
}

/// Why the secrets of senders, the API tokens or the database URL cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretsError {
    /// A file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A variable contains NUL characters.
    #[error("{name} contains NUL characters")]
    Nul {
        /// The variable.
        name: &'static str,
    },
    /// A file must contain one value, and contains none or several.
    #[error("the file of {name} must contain one line, the URL")]
    NotOneLine {
        /// The variable.
        name: &'static str,
    },
    /// A line contains no secret, or something beside it.
    #[error("invalid {name}: line {line} {problem}")]
    Line {
        /// The variable.
        name: &'static str,
        /// The number of the line, from 1.
        line: usize,
        /// What is wrong with it.
        problem: LineProblem,
    },
    /// A secret does not have the form that its scheme needs.
    #[error("invalid WEBHOOK_SECRETS or WEBHOOK_SECRETS_FILE")]
    Invalid(#[source] InvalidSource),
    /// The variable or file is set, and contains no secret.
    #[error("WEBHOOK_SECRETS or WEBHOOK_SECRETS_FILE contains no secret")]
    NoSecret,
    /// The variable or file of the keys that sign what is forwarded is set, and contains none.
    #[error(
        "FORWARD_SECRETS or FORWARD_SECRETS_FILE contains no key: add what `webhook-server secret` prints"
    )]
    NoSigningKey,
    /// A secret is so short that it can be guessed.
    #[error(
        "a secret in WEBHOOK_SECRETS or WEBHOOK_SECRETS_FILE has fewer than {min_bytes} bytes and \
         can be guessed: create a longer one at the sender, or set --insecure (INSECURE=true)"
    )]
    TooShort {
        /// The least number of bytes of a secret.
        min_bytes: usize,
    },
    /// A digest of a token does not parse.
    #[error("invalid API_TOKENS or API_TOKENS_FILE: line {line} of {name}: {expected}")]
    Token {
        /// The variable.
        name: &'static str,
        /// The number of the line, from 1.
        line: usize,
        /// What is expected.
        expected: String,
    },
    /// The variable or file is set, and contains no token.
    #[error(
        "{name} contains no token, so nobody could read: add the digest that \
         `webhook-server token read` prints, or unset {name}"
    )]
    NoToken {
        /// The variable.
        name: &'static str,
    },
}

impl From<InvalidSource> for SecretsError {
    fn from(error: InvalidSource) -> Self {
        match error {
            InvalidSource::Secret {
                problem: SecretProblem::TooShort { min_bytes },
                ..
            } => Self::TooShort { min_bytes },
            error => Self::Invalid(error),
        }
    }
}

/// What is wrong with a line that should hold a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LineProblem {
    /// A quotation mark is not closed.
    #[error(
        "has a quotation mark at one end only; remove it, or put the whole secret into quotation \
         marks"
    )]
    Quote,
    /// It contains an invisible character.
    #[error("contains an invisible character; type the secret, or copy it again")]
    Unseen,
    /// It is a line of an env file.
    #[error(
        "assigns to a variable; write the secret alone, or in quotation marks if all of it is \
         the secret"
    )]
    Assignment,
    /// It contains several secrets.
    #[error("contains several secrets; write one secret per line")]
    List,
    /// It is JSON.
    #[error("is JSON; write the secret alone, or in quotation marks if all of it is the secret")]
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_secret() {
        for (line, expected) in [
            ("It's a Secret to Everybody", "It's a Secret to Everybody"),
            ("a,b c;d|e", "a,b c;d|e"),
            ("\"quoted, once\"", "quoted, once"),
            ("'A_B=c'", "A_B=c"),
            ("#hash", "#hash"),
            ("pässwörd ✓", "pässwörd ✓"),
            ("v1,whsec_abc", "v1,whsec_abc"),
        ] {
            let secret = secret_of(line).unwrap();
            assert_eq!(*secret, expected, "{line}");
        }
        for (line, problem) in [
            ("\"cut off", LineProblem::Quote),
            ("cut off\"", LineProblem::Quote),
            ("zero\u{200b}width", LineProblem::Unseen),
            ("no\u{a0}break", LineProblem::Unseen),
            ("tab\there", LineProblem::Unseen),
            ("STRIPE_SECRET=abc", LineProblem::Assignment),
            ("whsec_a,whsec_b", LineProblem::List),
            ("whsec_a whsec_b", LineProblem::List),
            ("whsec_a\\nwhsec_b", LineProblem::List),
            ("v1,whsec_a|v1,whsec_b", LineProblem::List),
            ("{\"secret\":\"x\"}", LineProblem::Json),
        ] {
            assert_eq!(secret_of(line), Err(problem), "{line}");
        }
    }

    #[test]
    fn quotation_marks_around_several_lines_are_removed() {
        assert_eq!(without_outer_quotes("\"a\nb\"\n"), "a\nb");
        let each = "\"a\"\n\"b\"";
        assert_eq!(without_outer_quotes(each), each);
        assert_eq!(without_outer_quotes("\"a\""), "\"a\"");
    }
}
