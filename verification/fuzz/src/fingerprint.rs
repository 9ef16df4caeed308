//! Checks that equal content has an equal fingerprint, and different content a different one.

mod content;
mod spelling;

use arbitrary::Unstructured;
use webhook_core::{Envelope, Headers};
use webhook_server::transaction::Transaction;

use crate::decimal::Decimal;
use content::Content;

/// Checks that two transactions, written as JSON in any equivalent way, have the same fingerprint
/// exactly if their five normalised fields are equal.
///
/// The input is text: the five fields of the first transaction on a line each, then those of the
/// second (an empty line repeats the field of the first), and then bytes that choose the spellings.
pub fn fingerprint(input: &[u8]) {
    let mut lines = input.splitn(11, |&byte| byte == b'\n');
    let mut field = || String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
    let first: [String; 5] = std::array::from_fn(|_| field());
    let second = first.each_ref().map(|first| match field() {
        line if line.is_empty() => first.clone(),
        line => line,
    });
    let mut choices = Unstructured::new(lines.next().unwrap_or_default());
    let first = Content::of_lines(&first);
    let second = Content::of_lines(&second);

    let one = read(&first, &mut choices);
    let other = read(&second, &mut choices);
    let again = read(&first, &mut choices);
    assert_eq!(one.fingerprint(), again.fingerprint());
    assert_eq!(one.fingerprint() == other.fingerprint(), first == second);
    assert_eq!(one == other, first == second);
    assert_eq!(one.id() == other.id(), first.id == second.id);
}

/// Writes `content` in a chosen spelling, and parses it.
fn read(content: &Content, choices: &mut Unstructured<'_>) -> Transaction {
    let json = spelling::json(content, choices);
    let envelope = match Envelope::of::<Transaction>(json.clone().into(), Headers::new()) {
        Ok(envelope) => envelope,
        Err(error) => panic!("{error}: {json}"),
    };
    let transaction = Transaction::from_json(&envelope.body).expect("was read before");
    assert_eq!(transaction.fingerprint(), envelope.fingerprint);
    assert_eq!(
        Content {
            id: transaction.id().to_owned(),
            source_account: transaction.source_account().as_str().to_owned(),
            destination_account: transaction.destination_account().as_str().to_owned(),
            amount: Decimal::read(&transaction.amount().to_string()),
            currency: transaction.currency().as_str().to_owned(),
        },
        *content,
        "{json}"
    );
    transaction
}
