//! The command `token`.

use std::io::{self, Write, stdout};

use crate::http::{Scope, TokenDigest};

/// Creates a token of `scope`, and prints it with its digest, to which `with` adds what else is known of it.
pub(crate) fn make(with: impl FnOnce(TokenDigest) -> TokenDigest, scope: Scope) -> io::Result<()> {
    let secret: [u8; 32] = rand::random();
    let token = format!("wht_{}", hex::encode(secret));
    let digest = with(TokenDigest::of(scope, &token));
    let mut out = stdout().lock();
    writeln!(
        out,
        "token, which is not stored anywhere; give it to its user:"
    )?;
    writeln!(out, "{token}")?;
    writeln!(out, "digest, for API_TOKENS or a line of API_TOKENS_FILE:")?;
    writeln!(out, "{digest}")
}
