//! Makes tokens.

use std::io::{self, Write, stdout};

use crate::http::{Scope, TokenDigest, TokenName};

/// Writes a new token and its digest, which has `name`.
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
        "token, for the one who is to use it; it is kept nowhere:"
    )?;
    writeln!(out, "{token}")?;
    writeln!(out, "for API_TOKENS, or a line of API_TOKENS_FILE:")?;
    writeln!(out, "{digest}")
}
