//! Reads the secrets of a source from variables and files.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::super::credentials::secrets_in;
use super::super::files::{self, Guard};
use super::super::text;

/// Where secrets are: `env:NAME` or `file:PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PlaceOfSecret {
    /// A variable of the environment.
    Variable(String),
    /// A file. A relative path begins at the folder of `webhook.toml`.
    File(PathBuf),
}

/// Reads a variable of the environment.
pub(crate) type ReadVariable<'a> = &'a dyn Fn(&str) -> Option<OsString>;

impl PlaceOfSecret {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (sort, name) = text.split_once(':')?;
        let is_in_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        match sort {
            "env" if !name.is_empty() && name.bytes().all(is_in_name) => {
                Some(Self::Variable(name.to_owned()))
            }
            "file" if !name.is_empty() && !name.contains('\0') => Some(Self::File(name.into())),
            _ => None,
        }
    }

    /// The secrets there, at least one, and a warning if others may read them. An error names `key`, and says
    /// what is wrong.
    pub(crate) fn read(
        &self,
        key: &str,
        folder: &Path,
        variable: ReadVariable<'_>,
    ) -> Result<(Vec<Zeroizing<String>>, Option<String>), String> {
        let (text, exposure) = match self {
            Self::Variable(name) => {
                let value = variable(name).filter(|value| !value.is_empty());
                let Some(value) = value else {
                    let name = shown_variable(name);
                    return Err(format!("{key}: the variable {name} is not set"));
                };
                let value = Zeroizing::new(value.into_encoded_bytes());
                let text = text::decode(&value).map_err(|error| {
                    format!("{key}: the variable {}: {error}", shown_variable(name))
                })?;
                (text, None)
            }
            Self::File(path) => {
                let path = folder.join(path);
                let file = files::read_quietly(key, &path, Guard::Secret)
                    .map_err(|error| webhook_core::with_causes(&error))?;
                (file.text, file.exposure)
            }
        };
        let names: &[&str] = match self {
            Self::Variable(name) => &[name],
            Self::File(_) => &[],
        };
        let secrets = match pem_blocks(&text) {
            Some(blocks) => blocks,
            None => secrets_in(&text, names).map_err(|(line, problem)| {
                format!("{key}: {}: line {line} {problem}", self.shown())
            })?,
        };
        if secrets.is_empty() {
            return Err(format!("{key}: {} is empty", self.shown()));
        }
        Ok((secrets, exposure))
    }

    /// The place for errors: nothing of it that may be a secret.
    fn shown(&self) -> String {
        match self {
            Self::Variable(name) => format!("env:{}", shown_variable(name)),
            Self::File(path) => {
                let path = path.to_string_lossy();
                let is_plain = path.contains('/') && !path.contains(text::is_unseen);
                if is_plain {
                    format!("file:{path}")
                } else {
                    "the file".to_owned()
                }
            }
        }
    }
}

/// The place as it is written: for places that have been read, which therefore are no secrets themselves.
impl fmt::Display for PlaceOfSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
        }
    }
}

/// `name`, if it is written as names of variables are: it may be the secret itself.
fn shown_variable(name: &str) -> &str {
    const MAX_BYTES: usize = 64;
    let is_like_name =
        |byte: u8| byte.is_ascii_uppercase() || byte == b'_' || byte.is_ascii_digit();
    let has_letter = name.starts_with(|first: char| first.is_ascii_uppercase() || first == '_');
    if has_letter && name.len() <= MAX_BYTES && name.bytes().all(is_like_name) {
        name
    } else {
        "that the key names, which is not shown because it may be a secret,"
    }
}

/// The public keys in `text`, if it holds some in PEM, which takes several lines each.
fn pem_blocks(text: &str) -> Option<Vec<Zeroizing<String>>> {
    const BEGIN: &str = "-----BEGIN ";
    const END: &str = "-----END ";
    if !text.contains(BEGIN) {
        return None;
    }
    // Secret stores write line breaks like this.
    let text = Zeroizing::new(text.replace("\\n", "\n"));
    let blocks = text.split(BEGIN).skip(1).map(|block| {
        let end = block.find(END).map_or(block.len(), |at| {
            let rest = &block[at + END.len()..];
            let line = rest.find('\n').unwrap_or(rest.len());
            at + END.len() + line
        });
        Zeroizing::new([BEGIN, block[..end].trim_end_matches(['"', '\'', ' '])].concat())
    });
    Some(blocks.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(place: &str, value: Option<&str>) -> Result<Vec<String>, String> {
        let place = PlaceOfSecret::parse(place).unwrap();
        let variable = |_: &str| value.map(OsString::from);
        let read = place.read("secrets", Path::new("."), &variable);
        read.map(|(secrets, _)| secrets.iter().map(|secret| secret.to_string()).collect())
    }

    #[test]
    fn secrets_are_never_the_text_itself() {
        for text in [
            "whsec_abc",
            "env:",
            "env:a b",
            "file:",
            "vault:x",
            "",
            "ENV:A",
        ] {
            assert_eq!(PlaceOfSecret::parse(text), None, "{text}");
        }
    }

    #[test]
    fn variable_holds_one_secret_a_line() {
        let read = |value| read("env:STRIPE_SECRET", Some(value));
        let expect = |secrets: &[&str]| Ok(secrets.iter().map(ToString::to_string).collect());
        assert_eq!(
            read("old-secret\nnew-secret\n"),
            expect(&["old-secret", "new-secret"])
        );
        assert_eq!(read("'one'"), expect(&["one"]));
        let error = read("one whsec_a whsec_b").unwrap_err();
        assert!(
            error.starts_with("secrets: env:STRIPE_SECRET: line 1"),
            "{error}"
        );
        assert!(!error.contains("whsec_a"), "{error}");
    }

    #[test]
    fn variable_that_is_not_set_is_named_unless_it_may_be_a_secret() {
        let unset = read("env:STRIPE_SECRET", None).unwrap_err();
        assert_eq!(unset, "secrets: the variable STRIPE_SECRET is not set");
        let secret = read("env:whsec_MfKQ9r8GKYqr", None).unwrap_err();
        assert!(!secret.contains("MfKQ"), "{secret}");
    }

    #[test]
    fn public_keys_in_pem_take_several_lines() {
        let key = |text| format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----");
        let both = format!("{}\n{}\n", key("AAAA"), key("BBBB"));
        for text in [both.clone(), both.replace('\n', "\\n")] {
            let keys = read("env:KEYS", Some(&text)).unwrap();
            assert_eq!(keys, [key("AAAA"), key("BBBB")]);
        }
        assert_eq!(read("env:KEYS", Some("-----BEGIN x")).unwrap().len(), 1);
    }
}
