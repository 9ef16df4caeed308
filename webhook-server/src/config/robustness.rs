//! Tests that no input makes a reader of files and variables panic, and that no error quotes the input.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::env_file::{self, Strictness};
use super::{DatabaseUrl, pem, text};
use webhook_core::with_causes;

/// The pieces of the inputs. `hunter2` stands for a secret.
const PIECES: [&str; 35] = [
    "hunter2",
    "DATABASE_URL",
    "OTHER",
    "=",
    "=",
    "\n",
    "\n",
    "\r",
    "\\n",
    "\\",
    "\"",
    "'",
    "$",
    "${",
    "}",
    "#",
    " # ",
    " ",
    "\u{a0}",
    "\u{feff}",
    "é",
    "𝄞",
    "\0",
    "export ",
    "whsec_",
    "-----BEGIN ",
    "PRIVATE KEY",
    "-----",
    "-----END ",
    "CERTIFICATE",
    "sqlite:",
    "//",
    "memory:",
    "%",
    "?",
];

#[test]
fn no_input_makes_a_reader_panic_or_quote_it() {
    let mut rng = SmallRng::seed_from_u64(7);
    for _ in 0..20_000 {
        let pieces = rng.random_range(0..16);
        let input: String = (0..pieces)
            .map(|_| PIECES[rng.random_range(0..PIECES.len())])
            .collect();
        let mut errors = Vec::new();
        let decoded = text::decode(input.as_bytes());
        errors.extend(decoded.as_ref().err().map(ToString::to_string));
        for text in [input.as_str(), decoded.as_ref().map_or("", |text| text)] {
            for strictness in [Strictness::Strict, Strictness::Lenient] {
                match env_file::parse(text, &["DATABASE_URL"], strictness) {
                    Ok(file) => errors.extend(file.warnings),
                    Err(error) => errors.push(with_causes(&error)),
                }
            }
            let url = DatabaseUrl::from(text.to_owned());
            errors.extend(url.backend().err().map(|it| it.to_string()));
            errors.extend(pem::private_key(text).err().map(|it| it.to_string()));
            errors.extend(pem::certificates(text).err().map(|it| it.to_string()));
            let _ = (text::value(text), text::has_lone_quote(text));
            let _ = (text::is_assignment(text), text::assigned("OTHER", text));
            assert!(text::lines(text).count() <= text.len() + 1);
        }
        for error in errors {
            assert!(!error.contains("hunter2"), "{input:?}: {error}");
        }
    }
}
