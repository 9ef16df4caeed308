//! The payload of the server: a transfer of money between two accounts.

mod amount;
mod json;
mod view;

use std::fmt;

use webhook_core::{
    FieldError, Fingerprint, HandlerError, Headers, Identity, InvalidPayload, Payload,
};

pub use amount::{Amount, InvalidAmount, MAX_DECIMAL_PLACES, MAX_SIGNIFICANT_DIGITS};
pub use json::MAX_NESTING;
pub use rust_decimal::Decimal;
pub use view::{SQLITE_VIEW, VIEW};

use json::Member;

/// The longest id or account number, in characters.
pub const MAX_NAME_CHARS: usize = 128;

/// A transfer of money, as senders post it.
///
/// Read from a JSON object (RFC 8259) with these members; others are accepted and ignored.
///
/// | Member | Value |
/// |---|---|
/// | `transaction_id` | string |
/// | `source_account` | string |
/// | `destination_account` | string |
/// | `amount` | number, or the same as a string: see [`Amount`] |
/// | `currency` | string of 3 ASCII letters, upper-cased |
///
/// Strings are trimmed of white space (Unicode's `White_Space`). Trimmed ids and accounts have 1 to
/// [`MAX_NAME_CHARS`] characters, none of them a control character. Redeliveries are compared by the
/// five members, normalised: `1500`, `1500.0` and `"1.5e3"` are the same amount, `eur` and `EUR` the
/// same currency.
///
/// How [`from_json`](Self::from_json) treats unusual bodies:
///
/// - Malformed: a body that is not JSON in UTF-8, is not an object, or nests deeper than
///   [`MAX_NESTING`].
/// - Invalid fields: a member that is missing, repeated, of another type, out of bounds, or contains
///   a lone surrogate (`"\ud800"`). All of them are reported at once.
/// - Other members may hold any JSON, lone surrogates included, and may repeat.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transaction {
    id: String,
    source_account: Account,
    destination_account: Account,
    amount: Amount,
    currency: Currency,
}

impl Transaction {
    /// The id of the transaction, which is its idempotency key.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The account that the money comes from.
    pub const fn source_account(&self) -> &Account {
        &self.source_account
    }

    /// The account that the money goes to.
    pub const fn destination_account(&self) -> &Account {
        &self.destination_account
    }

    /// The amount, with the digits that the sender wrote.
    pub const fn amount(&self) -> Amount {
        self.amount
    }

    /// The currency.
    pub const fn currency(&self) -> Currency {
        self.currency
    }
}

impl Transaction {
    /// Reads and validates a body.
    ///
    /// # Errors
    ///
    /// [`InvalidPayload`] lists everything that is wrong with the body.
    pub fn from_json(body: &[u8]) -> Result<Self, InvalidPayload> {
        let members = json::members(body)?;
        let mut errors = Vec::new();
        let id = read("/transaction_id", members.transaction_id, name, &mut errors);
        let source = read("/source_account", members.source_account, name, &mut errors);
        let destination = read(
            "/destination_account",
            members.destination_account,
            name,
            &mut errors,
        );
        let amount = read("/amount", members.amount, amount_of, &mut errors);
        let currency = read("/currency", members.currency, currency_of, &mut errors);
        match (id, source, destination, amount, currency) {
            (Some(id), Some(source), Some(destination), Some(amount), Some(currency)) => Ok(Self {
                id,
                source_account: Account(source),
                destination_account: Account(destination),
                amount,
                currency,
            }),
            _ => Err(InvalidPayload::Fields(errors)),
        }
    }

    /// The digest of the five fields, normalised.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of([
            self.id.as_bytes(),
            self.source_account.as_str().as_bytes(),
            self.destination_account.as_str().as_bytes(),
            &self.amount.canonical_bytes(),
            self.currency.as_str().as_bytes(),
        ])
    }
}

impl Payload for Transaction {
    const KIND: &'static str = "transaction";

    fn identify(body: &[u8], _: &Headers) -> Result<Identity, InvalidPayload> {
        let transaction = Self::from_json(body)?;
        Identity::new(transaction.id(), transaction.fingerprint())
    }

    fn decode(body: &[u8], _: &Headers) -> Result<Self, HandlerError> {
        Ok(Self::from_json(body)?)
    }
}

/// The number of an account. Only [`as_str`](Self::as_str) shows all of it; `Debug` and
/// [`masked`](Self::masked) are safe for logs.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Account(String);

impl Account {
    /// The whole number.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last four characters after asterisks, such as `****6789`. Shows half of the number at most.
    pub fn masked(&self) -> impl fmt::Display + '_ {
        Masked(&self.0)
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Masked(&self.0), f)
    }
}

struct Masked<'a>(&'a str);

impl fmt::Display for Masked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let chars = self.0.chars().count();
        let shown = 4.min(chars / 2);
        let tail = self.0.char_indices().nth(chars - shown);
        write!(f, "****{}", tail.map_or("", |(start, _)| &self.0[start..]))
    }
}

/// The code of a currency: three letters from `A` to `Z`, as in ISO 4217. It need not be on its list.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Currency([u8; 3]);

impl Currency {
    /// The code.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).expect("three ASCII letters are UTF-8")
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Parses one member. An error is added to `errors`, at `pointer`.
fn read<T>(
    pointer: &'static str,
    member: Member<'_>,
    parse: fn(&str) -> Result<T, String>,
    errors: &mut Vec<FieldError>,
) -> Option<T> {
    let value = match member {
        Member::Missing => Err("is required".to_owned()),
        Member::Repeated => Err("appears more than once".to_owned()),
        Member::Once(raw) => parse(raw),
    };
    value
        .map_err(|detail| {
            errors.push(FieldError::new(pointer, detail));
        })
        .ok()
}

fn name(raw: &str) -> Result<String, String> {
    let text = json::string(raw)?;
    let text = text.trim();
    let plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    let chars = if plain {
        text.len()
    } else if text.chars().any(char::is_control) {
        return Err("must not contain control characters".to_owned());
    } else {
        text.chars().count()
    };
    if (1..=MAX_NAME_CHARS).contains(&chars) {
        Ok(text.to_owned())
    } else {
        Err(format!("must have 1 to {MAX_NAME_CHARS} characters"))
    }
}

fn amount_of(raw: &str) -> Result<Amount, String> {
    let parsed = match raw.as_bytes() {
        [b'"', ..] => json::string(raw)?.trim().parse(),
        [b'-' | b'0'..=b'9', ..] => raw.parse(),
        _ => Err(InvalidAmount::NotANumber),
    };
    parsed.map_err(|error: InvalidAmount| error.to_string())
}

fn currency_of(raw: &str) -> Result<Currency, String> {
    let text = json::string(raw)?;
    match text.trim().as_bytes() {
        [a, b, c] if [a, b, c].iter().all(|letter| letter.is_ascii_alphabetic()) => {
            Ok(Currency([a, b, c].map(u8::to_ascii_uppercase)))
        }
        _ => Err("must be 3 ASCII letters".to_owned()),
    }
}

#[cfg(test)]
mod tests;
