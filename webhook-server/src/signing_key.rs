//! The command `secret`.

use std::io::{self, Write, stdout};

use webhook_forward::SigningKeys;

/// Creates a key that signs what is forwarded, and prints it. The line can be appended to a file of keys as it is.
pub(crate) fn make() -> io::Result<()> {
    let key = SigningKeys::generate().map_err(io::Error::other)?;
    writeln!(stdout().lock(), "{}", *key)
}
