//! Fuzzes request bodies.

mod members;
mod valid;

use bytes::Bytes;
use serde_json::value::RawValue;
use webhook_core::{Envelope, FieldError, Headers, InvalidPayload};
use webhook_server::transaction::Transaction;
use webhook_server::transaction::{
    Account, MAX_DECIMAL_PLACES, MAX_NAME_CHARS, MAX_NESTING, MAX_SIGNIFICANT_DIGITS,
};

use crate::decimal::Decimal;
use members::{Members, depth};
pub(crate) use valid::is_transaction;

/// The members, in the order in which their errors are reported.
const POINTERS: [&str; 5] = [
    "/transaction_id",
    "/source_account",
    "/destination_account",
    "/amount",
    "/currency",
];

/// Checks that a body is either refused with all its errors, or parsed exactly and within the
/// limits, with the same result again from what is stored.
pub fn transaction(body: &[u8]) {
    let read = Envelope::of::<Transaction>(Bytes::copy_from_slice(body), Headers::new());
    match &read {
        Ok(envelope) => check_read(body, envelope),
        Err(error) => check_refused(body, error),
    }
    check_white_space(body, read.is_ok());
}

/// Returns the JSON text of a body, without the byte-order mark that may precede it.
fn text_of(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)
}

fn check_read(body: &[u8], envelope: &Envelope) {
    assert_eq!(envelope.body, body, "stored byte for byte");
    let transaction = Transaction::from_json(body).expect("reads a second time");
    let stored = Transaction::from_json(&envelope.body).expect("reads from the store");
    assert_eq!(transaction, stored);
    assert_eq!(transaction.fingerprint(), stored.fingerprint());
    assert_eq!(transaction.fingerprint(), envelope.fingerprint);
    assert_eq!(transaction.id(), envelope.key.as_str());
    assert_eq!(transaction.id(), envelope.key.as_str());

    let text = text_of(body);
    assert!(depth(text) <= MAX_NESTING);
    check_name(transaction.id());
    for account in [
        transaction.source_account(),
        transaction.destination_account(),
    ] {
        check_name(account.as_str());
        check_masked(account);
    }
    let currency = transaction.currency();
    assert_eq!(currency.as_str().len(), 3);
    assert!(currency.as_str().bytes().all(|it| it.is_ascii_uppercase()));
    check_amount(&transaction);
    check_members(text, &transaction);
}

fn check_name(name: &str) {
    assert_eq!(name, name.trim());
    assert!((1..=MAX_NAME_CHARS).contains(&name.chars().count()));
    assert!(!name.chars().any(char::is_control));
}

fn check_masked(account: &Account) {
    let masked = account.masked().to_string();
    assert_eq!(format!("{account:?}"), masked);
    let shown = masked.strip_prefix("****").expect("masked by asterisks");
    assert!(account.as_str().ends_with(shown));
    assert!(shown.chars().count() <= 4);
    assert!(shown.chars().count() * 2 <= account.as_str().chars().count());
}

fn check_amount(transaction: &Transaction) {
    let amount = transaction.amount();
    let shown = amount.to_string();
    let again = shown.parse().expect("an amount reads what it writes");
    assert_eq!(amount, again);
    assert_eq!(again.to_string(), shown, "digits are kept");
    let raw: &RawValue = serde_json::from_str(&shown).expect("shown as a JSON number");
    assert_eq!(raw.get(), shown);

    let decimal = amount.to_decimal();
    assert!(decimal.is_sign_positive() && !decimal.is_zero());
    assert!(decimal.scale() <= MAX_DECIMAL_PLACES);
    assert!(decimal.mantissa() < 10_i128.pow(MAX_SIGNIFICANT_DIGITS));
}

/// Checks the members as serde reads them, except in the few bodies that serde cannot read this
/// way.
fn check_members(body: &[u8], transaction: &Transaction) {
    let Ok(members) = serde_json::from_slice::<Members<'_>>(body) else {
        return;
    };
    let raw = |name: &str| members.the_one(name).expect("there once");
    let text = |name: &str| -> String { serde_json::from_str(raw(name)).expect("a string") };
    assert_eq!(transaction.id(), text("transaction_id").trim());
    assert_eq!(
        transaction.source_account().as_str(),
        text("source_account").trim()
    );
    assert_eq!(
        transaction.destination_account().as_str(),
        text("destination_account").trim()
    );
    assert_eq!(
        transaction.currency().as_str(),
        text("currency").trim().to_ascii_uppercase()
    );
    let amount = if raw("amount").starts_with('"') {
        text("amount")
    } else {
        raw("amount").to_owned()
    };
    assert_eq!(
        Decimal::read(amount.trim()),
        Decimal::read(&transaction.amount().to_string()),
        "kept exactly"
    );
}

fn check_refused(body: &[u8], error: &InvalidPayload) {
    assert!(!error.to_string().is_empty());
    let body = text_of(body);
    let json: Result<&RawValue, _> = serde_json::from_slice(body);
    let is_object = json.is_ok_and(|it| it.get().trim_start().starts_with('{'));
    match error {
        InvalidPayload::Malformed { detail } => {
            assert!(!detail.is_empty());
            assert!(
                !is_object || depth(body) > MAX_NESTING,
                "a JSON object: {detail}"
            );
        }
        InvalidPayload::Fields(errors) => {
            assert!(is_object, "not a JSON object");
            check_field_errors(errors);
        }
        other => panic!("no transaction is refused for {other}"),
    }
}

/// Checks that there is at least one error, at most one for each member, and that they are in
/// order.
fn check_field_errors(errors: &[FieldError]) {
    assert!(!errors.is_empty());
    let mut pointers = POINTERS.iter();
    for error in errors {
        assert!(
            pointers.any(|&pointer| pointer == error.pointer),
            "{errors:?}"
        );
        assert!(!error.detail.is_empty());
    }
}

/// Checks that white space around the text of a body has no effect.
fn check_white_space(body: &[u8], is_good: bool) {
    let text = text_of(body);
    let mark = &body[..body.len() - text.len()];
    let spaced = [mark, b" \n", text, b"\r\t"].concat();
    match Transaction::from_json(&spaced) {
        Ok(spaced) => {
            assert!(is_good);
            assert_eq!(
                spaced,
                Transaction::from_json(body).expect("was read before")
            );
        }
        Err(_) => assert!(!is_good),
    }
}
