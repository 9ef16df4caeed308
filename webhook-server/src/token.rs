//! The command `token`.

use std::io::{self, Write, stdout};

use crate::http::{Scope, TokenDigest, TokenName};

/// Creates a token, and prints it with its digest.
pub(crate) fn make(scope: Scope, name: Option<&TokenName>) -> io::Result<()> {
    let secret: [u8; 32] = rand::random();
    let token = format!("wht_{}", hex::encode(secret));
    let mut digest = TokenDigest::of(scope, &token);
    if let Some(name) = name {
        digest = digest.named(name.clone());
    }
    let mut out = stdout().lock();
    writeln!(
        out,
        "token, which is not stored anywhere; give it to its user:"
    )?;
    writeln!(out, "{token}")?;
    writeln!(out, "digest, for API_TOKENS or a line of API_TOKENS_FILE:")?;
    writeln!(out, "{digest}")
}
