//! Ids in paths, and their percent-encoding.

use super::case::{Case, case, get};

pub(super) fn cases() -> Vec<Case> {
    let same = "RFC 3986, 6.2.2.2: the same id, percent-encoded or not";
    let once = "RFC 3986, 2.4: decoded once";
    let none = "RFC 3986, 2.1: an invalid percent-encoding names no id";
    let utf_8 = "RFC 3629, 3: not UTF-8";
    let other = "a different id, which does not exist";
    let path = "RFC 3986, 3.3: a different path";
    let control = "ids cannot contain control characters";
    let mut cases = Vec::new();
    for (segment, why) in [("good", same), ("%67ood", same), ("%67%6F%6f%64", same)] {
        cases.push(of(segment).gets(&[200], why));
    }
    cases.push(of("good?x=y").gets(&[200], "RFC 3986, 3.4: queries are ignored"));
    for (segment, why) in [
        ("%2567ood", once),
        ("%2e%2e%2f%2e%2e%2ftransactions%2fgood", other),
        ("..%2ftransactions%2fgood", other),
        ("good%2f", other),
        ("good%2f..", other),
        ("%2fgood", other),
        ("good%3fx=y", other),
        ("good%23x", other),
        ("good;x=y", other),
        ("GOOD", other),
        ("good.", other),
        ("good%20", "ids are trimmed in deliveries, not in paths"),
        ("%20good", "ids are trimmed in deliveries, not in paths"),
        ("+good", other),
        (
            "%EF%BD%87ood",
            "ids are not normalised: another form of a letter is another letter",
        ),
        ("%E2%80%8Bgood", "invisible characters are significant"),
        ("%E2%80%AEdoog", "invisible characters are significant"),
        ("good%00", control),
        ("good%0d%0aX-Injected:%20yes", control),
        ("%0A", control),
        ("%C2%85", control),
        ("%7f", control),
        ("%", none),
        ("%4", none),
        ("%zz", none),
        ("%%67ood", none),
        ("%u0067ood", none),
        ("%ff", utf_8),
        ("%C3", utf_8),
        ("%c0%ae%c0%ae", utf_8),
        ("%ED%A0%80", utf_8),
        ("../transactions/good", path),
        ("./good", path),
        ("good/", path),
        ("/good", path),
        ("", path),
        (
            "'%20OR%20'1'='1",
            "an ordinary id: ids are bound parameters, never SQL",
        ),
        (
            "good'%3B%20DROP%20TABLE%20webhook.events--",
            "an ordinary id: ids are bound parameters, never SQL",
        ),
    ] {
        cases.push(of(segment).gets(&[404], why));
    }
    for bytes in [129, 512, 513, 8_000] {
        let segment = "x".repeat(bytes);
        let case = case(
            format!("an id of {bytes} bytes"),
            get(&format!("/v1/transactions/{segment}")),
        );
        cases.push(case.gets(&[404], "longer than any id"));
    }
    cases
}

fn of(segment: &str) -> Case {
    case(
        format!("`{segment}`").replace("``", "nothing"),
        get(&format!("/v1/transactions/{segment}")),
    )
}
