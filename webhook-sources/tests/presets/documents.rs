//! The table of the presets in docs/providers/README.md.

use std::fs;
use std::path::Path;

use webhook_sources::preset::{self, Preset};
use webhook_sources::spec::{
    Algorithm, Guard, Handshake, HashFunction, IdRule, Scheme, SignatureSpec, Template, TokenForm,
};

const BEGIN: &str = "<!-- Generated from the presets. To update: BLESS=1 cargo test -p webhook-sources --test presets document -->\n";
const END: &str = "<!-- End of what is generated. -->\n";

/// The most parts of a template that are shown.
const MAX_PARTS_SHOWN: usize = 6;

#[test]
fn document_lists_the_presets() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/providers/README.md");
    let document = fs::read_to_string(&path).unwrap();
    let (before, rest) = document.split_once(BEGIN).unwrap();
    let (listed, after) = rest.split_once(END).unwrap();
    let table = table();
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
    } else {
        assert_eq!(listed, table);
    }
}

/// Each page about a sender is of a preset, and the README links to it.
#[test]
fn document_of_each_sender_is_linked() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/providers");
    let index = fs::read_to_string(folder.join("README.md")).unwrap();
    let mut pages = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        if file == "README.md" {
            continue;
        }
        let name = file.strip_suffix(".md").unwrap();
        assert!(preset::get(name).is_some(), "{name}");
        assert!(index.contains(&format!("({file})")), "{file}");
        let page = fs::read_to_string(folder.join(&file)).unwrap();
        assert!(page.contains(&format!("preset = \"{name}\"\n")), "{file}");
        pages += 1;
    }
    assert!(pages >= 10, "{pages}");
}

fn table() -> String {
    let head = "| Preset | Sender | Signature | Secrets and settings | Id | Answer | The sender waits | Checks of the address |\n\
                |---|---|---|---|---|---|---|---|\n";
    preset::all()
        .map(row)
        .fold(head.to_owned(), |table, row| table + &row)
}

fn row(preset: &Preset) -> String {
    let spec = &preset.spec;
    let name = std::iter::once(&preset.name).chain(&preset.also);
    let name: Vec<String> = name.map(|name| format!("`{name}`")).collect();
    let mut secrets = scheme_secrets(&spec.scheme);
    let handshakes: Vec<String> = spec.handshakes.iter().map(handshake).collect();
    if let Some(Handshake::Query {
        token: Some(_),
        secrets: token,
        ..
    }) = spec.handshakes.first()
    {
        secrets.push(token.clone());
    }
    let mut once: Vec<String> = Vec::new();
    for secret in secrets.into_iter().map(|name| format!("`{name}`")) {
        if !once.contains(&secret) {
            once.push(secret);
        }
    }
    for setting in spec.scheme.setting_names() {
        let known = format!("setting `{setting}`");
        if !once.contains(&known) {
            once.push(known);
        }
    }
    let mut of_events = id(&spec.id);
    if let Some(split) = &spec.split {
        let each = if split.tokens().any(|it| it == "*") {
            "each of "
        } else {
            ""
        };
        of_events += &format!(" of {each}`{split}`");
    }
    of_events += match spec.guard {
        Guard::Body => ", and the body",
        Guard::BodyAndType => ", and the body with the type",
        _ => "",
    };
    let answer = match spec.answer.body.as_str() {
        "" => spec.answer.status.to_string(),
        body => format!("{} `{body}`", spec.answer.status),
    };
    let timeout = spec
        .timeout
        .map_or_else(String::new, |it| format!("{} s", it.as_secs()));
    format!(
        "| {} | [{}]({}) | {} | {} | {of_events} | {answer} | {timeout} | {} |\n",
        name.join(", "),
        preset.title,
        preset.documentation,
        scheme(&spec.scheme)
            .replace('|', "\\|")
            .replace('\n', "\\n"),
        once.join(", "),
        handshakes.join(", "),
    )
}

fn hash(hash: HashFunction) -> &'static str {
    match hash {
        HashFunction::Sha1 => "SHA-1",
        HashFunction::Sha512 => "SHA-512",
        _ => "SHA-256",
    }
}

fn signed(template: &Template, signature: &SignatureSpec) -> String {
    let what = match template.parts().len() {
        0..=MAX_PARTS_SHOWN => format!("`{template}`"),
        parts => format!("{parts} parts"),
    };
    format!("of {what} in `{}`", signature.at)
}

fn scheme(scheme: &Scheme) -> String {
    let list = |schemes: &[Scheme], between| {
        let each: Vec<String> = schemes.iter().map(self::scheme).collect();
        each.join(between)
    };
    match scheme {
        Scheme::Hmac(it) => format!(
            "HMAC-{} {}",
            hash(it.hash).replace('-', ""),
            signed(&it.signed, &it.signature)
        ),
        Scheme::Token(it) => match it.form {
            TokenForm::Sha256 => format!("SHA-256 of the secret in `{}`", it.at),
            _ => format!("the secret in `{}`", it.at),
        },
        Scheme::Basic(_) => "user and password".to_owned(),
        Scheme::PublicKey(it) => {
            let algorithm = match it.algorithm {
                Algorithm::Ed25519 => "Ed25519",
                Algorithm::EcdsaP256Sha256 => "ECDSA P-256",
                _ => "RSA",
            };
            format!("{algorithm} {}", signed(&it.signed, &it.signature))
        }
        Scheme::Digest(it) => format!("{} {}", hash(it.hash), signed(&it.signed, &it.signature)),
        Scheme::Jwt(it) => {
            let body = match it.body_hash {
                Some(_) => " with the hash of the body",
                None => "",
            };
            format!("a signed token{body} in `{}`", it.at)
        }
        Scheme::FetchedCertificate(it) => {
            let signed = signed(&it.signed, &it.signature);
            format!(
                "RSA {signed}, with the certificate at the URL in `{}`",
                it.url
            )
        }
        Scheme::AnyOf(schemes) => list(schemes, "; or "),
        Scheme::AllOf(schemes) => list(schemes, " and "),
        other => panic!("{other:?}"),
    }
}

fn scheme_secrets(scheme: &Scheme) -> Vec<String> {
    match scheme {
        Scheme::Hmac(it) => vec![it.secrets.clone()],
        Scheme::Token(it) => vec![it.secrets.clone()],
        Scheme::Basic(it) => vec![it.secrets.clone()],
        Scheme::PublicKey(it) => vec![it.secrets.clone()],
        Scheme::Digest(it) => vec![it.secrets.clone()],
        Scheme::Jwt(_) | Scheme::FetchedCertificate(_) => {
            let names = scheme.secret_names().into_iter();
            names.map(str::to_owned).collect()
        }
        Scheme::AnyOf(schemes) | Scheme::AllOf(schemes) => {
            schemes.iter().flat_map(scheme_secrets).collect()
        }
        other => panic!("{other:?}"),
    }
}

fn id(rule: &IdRule) -> String {
    let list = |rules: &[IdRule], between| {
        let each: Vec<String> = rules.iter().map(id).collect();
        each.join(between)
    };
    match rule {
        IdRule::At(place) => format!("`{place}`"),
        IdRule::Signed => "the signed id".to_owned(),
        IdRule::Sha256 => "the hash of the content".to_owned(),
        IdRule::Generated => "a new one for each delivery".to_owned(),
        IdRule::Joined(rules) => list(rules, " + "),
        IdRule::FirstOf(rules) => list(rules, ", else "),
        other => panic!("{other:?}"),
    }
}

fn handshake(handshake: &Handshake) -> String {
    match handshake {
        Handshake::Query {
            method, parameter, ..
        } => format!("{method} with `{parameter}`"),
        Handshake::Header { header, .. } => format!("GET with the header `{header}`"),
        Handshake::Json {
            pointer, equals, ..
        } => format!("`{pointer}` = `{equals}`"),
        Handshake::CloudEvents { .. } => "OPTIONS".to_owned(),
        Handshake::Probe {
            method,
            form_field: Some(field),
            ..
        } => format!("{method} with `{field}`"),
        Handshake::Probe { method, .. } => method.clone(),
        Handshake::Confirm {
            pointer, equals, ..
        } => format!("`{pointer}` = `{equals}`, by hand"),
        other => panic!("{other:?}"),
    }
}
