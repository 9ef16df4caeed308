//! Signatures that senders publish, and signatures that were computed with other programs.

use super::*;

const SECRET: &str = "shh-this-is-a-secret";
const BODY: &[u8] = br#"{"id":"evt_1","type":"demo","n":1.50}"#;
const MILLISECONDS: &[u8] = b"1700000000123";
const NOW: u64 = 1_700_000_000;

/// Asserts that the request is verified, and that it is not with another body.
fn check(toml: &str, secret: &str, headers: &[(&str, &[u8])], body: &[u8], now: u64) {
    let verification = verification(toml, &[secret]);
    let verified = verify(&verification, &post(headers, body), at(now));
    assert!(verified.is_ok(), "{toml}: {verified:?}");
    let changed = [body, b" "].concat();
    let verified = verify(&verification, &post(headers, &changed), at(now));
    assert_eq!(verified, Err(Unverified::NoMatch), "{toml}");
}

#[test]
fn forms_of_signatures_by_hmac() {
    let signature = r#"scheme.hmac.signature.at = "header:x-signature""#;
    let time = r#"scheme.hmac.time.at = "header:x-time""#;
    for (lines, sent) in [
        (
            r#"scheme.hmac.signed = "{body}""#,
            "b8bf10fa4bdd2d48a1aa32eebcecdfb817ea0d347144016e1a74bb26bd69ddd9",
        ),
        (
            r#"
            scheme.hmac.signed = "{body}"
            scheme.hmac.signature.encoding = "base64"
            "#,
            "uL8Q+kvdLUihqjLuvOzfuBfqDTRxRAFuGnS7Jr1p3dk=",
        ),
        (
            r#"
            scheme.hmac.hash = "sha1"
            scheme.hmac.signed = "{body}"
            scheme.hmac.signature.prefix = "sha1="
            "#,
            "sha1=8e1b76b126d2294aa685d54f48db01401f864b25",
        ),
        (
            r#"
            scheme.hmac.signed = "{url}{body}"
            scheme.hmac.signature.encoding = "base64"
            "#,
            "lcmsv7xgRqOc2FAWBqRFuAIrStrCs4pSOTuLoAylsOM=",
        ),
        (
            r#"
            scheme.hmac.hash = "sha1"
            scheme.hmac.signed = "{body}{url}"
            scheme.hmac.signature.encoding = "base64"
            "#,
            "3rbtkasXevDpBEmqRfe4PUCU0Ls=",
        ),
    ] {
        let headers = [("X-Signature", sent.as_bytes())];
        check(&format!("{lines}\n{signature}"), SECRET, &headers, BODY, 0);
    }
    for (lines, written, sent) in [
        (
            r#"
            scheme.hmac.signed = "v0:{timestamp}:{body}"
            scheme.hmac.signature.prefix = "v0="
            "#,
            &b"1700000000"[..],
            "v0=5966f141de95fd9c8df5317283e8249959b522098b7d3f0a289b2e7ea4abfff9",
        ),
        (
            r#"
            scheme.hmac.signed = "{timestamp}{body}"
            scheme.hmac.signature.encoding = "base64"
            scheme.hmac.time.format = "milliseconds"
            "#,
            MILLISECONDS,
            "t+DSMbJmrizAPic5egIYJPd+xCkeDOUOrv/6IzYdzw0=",
        ),
        (
            r#"
            scheme.hmac.signed = "{timestamp}{body}"
            scheme.hmac.signature.encoding = "base64"
            scheme.hmac.time.format = "rfc3339"
            "#,
            b"2023-11-14T22:13:20Z",
            "l6fngW4+k455uA1P/f9RKOxP+sTz9B+5luxvm1yCbUQ=",
        ),
        (
            r#"
            scheme.hmac.signed = "{method}{url}{body}{timestamp}"
            scheme.hmac.signature.encoding = "base64"
            scheme.hmac.time.format = "milliseconds"
            "#,
            MILLISECONDS,
            "Zmju64sRbEGBfTiIS7C8lwRW1qctMlnwAQ/7VxBrTd0=",
        ),
    ] {
        let headers = [("x-signature", sent.as_bytes()), ("x-time", written)];
        let toml = format!("{lines}\n{signature}\n{time}");
        check(&toml, SECRET, &headers, BODY, NOW);
    }
}

#[test]
fn items_of_one_header() {
    for (lines, sent) in [
        (
            r#"
            scheme.hmac.signed = "{timestamp}.{body}"
            scheme.hmac.signature = { at = "header:x-signature", split = ",", item = "v1=" }
            scheme.hmac.time.at = "item:t"
            "#,
            "t=1700000000,v1=9156363d0eb4af217042d1bf77bae557c0cbf4478926da3e941f5de16d93e039",
        ),
        (
            r#"
            scheme.hmac.signed = "{timestamp}:{body}"
            scheme.hmac.signature = { at = "header:x-signature", split = ";", item = "h1=" }
            scheme.hmac.time.at = "item:ts"
            "#,
            "ts=1700000000;h1=394328157fe4c518436caf31a70437db6db6fc672811de0072e594f3c80e7dc5",
        ),
    ] {
        let headers = [("x-signature", sent.as_bytes())];
        check(lines, SECRET, &headers, BODY, NOW);
    }
}

#[test]
fn keys_in_hexadecimal() {
    let toml = r#"
        scheme.hmac.key = "hex"
        scheme.hmac.signed = "{body}"
        scheme.hmac.signature = { at = "header:x-signature", encoding = "base64" }
    "#;
    let key = format!("{}01", "00".repeat(31));
    let headers = [(
        "x-signature",
        &b"SQPIbPcDJyOLZGoeojYLjSmorGQj1c9m1wrHcal/UyY="[..],
    )];
    check(toml, &key, &headers, BODY, 0);
}

/// The published vector of SendGrid.
#[test]
fn ecdsa_by_the_published_vector_of_sendgrid() {
    let toml = r#"
        [scheme.public_key]
        algorithm = "ecdsa_p256_sha256"
        key = "spki"
        signed = "{timestamp}{body}"
        signature = { at = "header:x-signature", encoding = "base64" }
        time = { at = "header:x-time", tolerance = "off" }
    "#;
    let key = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1flpVKS3GRqe62gw+2fNNRaINXvVpiglSI8eNEc6wEA3F+g==";
    let body = b"[{\"email\":\"hello@world.com\",\"event\":\"dropped\",\"reason\":\"Bounced Address\",\
        \"sg_event_id\":\"ZHJvcC0xMDk5NDkxOS1MUnpYbF9OSFN0T0doUTRrb2ZTbV9BLTA\",\
        \"sg_message_id\":\"LRzXl_NHStOGhQ4kofSm_A.filterdrecv-p3mdw1-756b745b58-kmzbl-18-5F5FC76C-9.0\",\
        \"smtp-id\":\"<LRzXl_NHStOGhQ4kofSm_A@ismtpd0039p1iad1.sendgrid.net>\",\"timestamp\":1600112492}]\r\n";
    let signature = b"MEUCIGHQVtGj+Y3LkG9fLcxf3qfI10QysgDWmMOVmxG0u6ZUAiEAyBiXDWzM+uOe5W0JuG+luQAbPIqHh89M15TluLtEZtM=";
    check_public(
        toml,
        key,
        &[("x-signature", signature), ("x-time", b"1600112502")],
        body,
    );
}

/// Made by OpenSSL.
#[test]
fn rsa_by_a_computed_vector() {
    let toml = r#"
        [scheme.public_key]
        algorithm = "rsa_pkcs1_sha256"
        key = "spki"
        signed = "{body}"
        signature = { at = "header:x-signature", encoding = "base64" }
    "#;
    let key = "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAvTYG7xURkF+K5IRWYgFvD5acj5JT1EtlONnEW168nELEm0F8j06DWPbAYbNTR0fR0+YdOHdb9I4IFzAGRcXNyInTrSqYXjE1UsJaJVrTsuGXPJdh1zr1T3mwmieyWqgHqkfr0zmpSBnDwDsPmPa/81oCg0FpMnRlmOQgMEjWJLUwbkYSHE6Z576ZRNJszefcyntOwlcWEXMp/5pgjt7YFWSbYaKmCXdXHZkHn8Rq+g1kTOVFNJ+IwKhSchZGNOqm7yZzeyibrbV23pu+I3+z9AqPp//eK2IZ2YRGHnsnme1XzpduhhR+Q7gLlwiK0vCS1lmX6yXZO0DPygiKC0lwlwIDAQAB";
    let body = br#"{"data":{"resource":{"id":111}},"event_type":"transfers#state-change","schema_version":"2.0.0"}"#;
    let signature = b"psJKwc/7qTT3+lTY8oqn14GDMuuPCj5+ZXAGYG2nStrYkCi1YDmzF4M1jTJuZ2bA6gZU2aCjC9d2YcBoJitE5qeD1T4tWgG73PpzXoGk1YEj6t9vK3DZVgaxQAMCtPpS3Xtt0QDTYdkJUlGUwWhCbwG1TfKbVA9oa8zlKDm1fCo5LJpkHH0MXqVCEd1dwPgFoZwPPdPlrgLa8ttekBHSMwDKbOD2yZS96c1uuNbWRS6RzCOletuNcjioJZozMt0pLX8kq7qqY8KkmLEDrvk+eNsIR1zBJ6bK+wGrSQCLDrKkwOSgAjjFqcn7L3yF4v4rGXoex/r29PfdZ7FVVitLcw==";
    let headers = [("x-signature", &signature[..])];
    check_public(toml, key, &headers, body);
    let pem = format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n{}\n-----END PUBLIC KEY-----\n",
        &key[..64],
        &key[64..]
    );
    check_public(toml, &pem, &headers, body);
    let signed_with_sha1 = toml.replace("rsa_pkcs1_sha256", "rsa_pkcs1_sha1");
    let verification = named(&signed_with_sha1, &Secrets::new().with("public_key", key));
    let verified = verify(&verification, &post(&headers, body), at(0));
    assert_eq!(verified, Err(Unverified::NoMatch));
}

/// Discord's form, with the key of RFC 8032, test 1.
#[test]
fn ed25519_by_a_computed_vector() {
    let toml = r#"
        [scheme.public_key]
        algorithm = "ed25519"
        key = "hex"
        signed = "{timestamp}{body}"
        signature = { at = "header:x-signature" }
        time = { at = "header:x-time", tolerance = "off" }
    "#;
    let key = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    let signature = b"1695961a47c91a1ec033b819b7e87e3dbc583dd0cee6d1fd0216f58ac87b6228ae531ddbf91fb7bc28d7edf7f08604da16f54624f38a6bc0614e4dc13cd47f0f";
    let headers = [("x-signature", &signature[..]), ("x-time", b"1700000000")];
    check_public(toml, key, &headers, br#"{"type":1}"#);
    let spki = format!(
        "MCowBQYDK2VwAyEA{}",
        Encoding::Base64.encode(&hex::decode(key).unwrap())
    );
    check_public(
        &toml.replace("\"hex\"", "\"spki\""),
        &spki,
        &headers,
        br#"{"type":1}"#,
    );
}

fn check_public(toml: &str, key: &str, headers: &[(&str, &[u8])], body: &[u8]) {
    let verification = named(toml, &Secrets::new().with("public_key", key));
    let verified = verify(&verification, &post(headers, body), at(0));
    assert!(verified.is_ok(), "{toml}: {verified:?}");
    let changed = [body, b" "].concat();
    let verified = verify(&verification, &post(headers, &changed), at(0));
    assert_eq!(verified, Err(Unverified::NoMatch), "{toml}");
}

/// The published vectors of Twilio.
#[test]
fn urls_and_forms_by_the_published_vectors_of_twilio() {
    let toml = r#"
        [scheme.hmac]
        hash = "sha1"
        signed = "{url}{form+}"
        signature = { at = "header:x-signature", encoding = "base64" }
    "#;
    let body = b"From=%2B14158675309&CallSid=CA1234567890ABCDE&Digits=1234&Caller=%2B14158675309&To=%2B18005551212";
    for (url, signature) in [
        (
            "https://mycompany.com/myapp.php",
            &b"RSOYDt4T1cUTdK1PDd93/VVr8B8="[..],
        ),
        (
            "https://mycompany.com:443/myapp.php",
            b"kvajT1Ptam85bY51eRf/AJRuM3w=",
        ),
    ] {
        let options = VerificationOptions {
            public_url: Some(url.to_owned()),
            ..options()
        };
        let verification =
            Verification::new(&scheme(toml), &Secrets::of(["12345"]), options).unwrap();
        let headers = [("x-signature", signature)];
        let request = Request {
            target: "/myapp.php?foo=1&bar=2",
            ..post(&headers, body)
        };
        assert!(verify(&verification, &request, at(0)).is_ok(), "{url}");
        let other = Request {
            target: "/myapp.php?foo=1&bar=3",
            ..request
        };
        assert_eq!(
            verify(&verification, &other, at(0)),
            Err(Unverified::NoMatch)
        );
        assert!(verification.signs_url());
    }
}

/// The published vector of Adyen, and its form in a request.
#[test]
fn json_values_by_the_published_vector_of_adyen() {
    let toml = r#"
        [scheme.hmac]
        key = "hex"
        signed = "{json:/i/0/pspReference}:{json:/i/0/originalReference}:{json:/i/0/account}:{json:/i/0/reference}:{json:/i/0/amount/value}:{json:/i/0/amount/currency}:{json:/i/0/eventCode}:{json:/i/0/success}"
        signature = { at = "json:/i/0/additionalData/hmacSignature", encoding = "base64" }
    "#;
    let key = "44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056";
    let verification = verification(toml, &[key]);
    let body = r#"{"i":[{"pspReference":"7914073381342284","account":"TestMerchant","reference":"TestPayment-1407325143704",
        "amount":{"value":1130,"currency":"EUR"},"eventCode":"AUTHORISATION","success":"true",
        "additionalData":{"hmacSignature":"coqCmt/IZ4E3CzPvMY8zTjQVL5hYJUiBRg8UU+iCWo0="}}]}"#;
    assert!(verify(&verification, &post(&[], body.as_bytes()), at(0)).is_ok());
    let changed = body.replace("1130", "1131");
    let verified = verify(&verification, &post(&[], changed.as_bytes()), at(0));
    assert_eq!(verified, Err(Unverified::NoMatch));
}

/// The published vector of Mailgun.
#[test]
fn json_values_by_the_published_vector_of_mailgun() {
    let toml = r#"
        [scheme.hmac]
        signed = "{json:/signature/timestamp}{json:/signature/token}"
        signature = { at = "json:/signature/signature" }
        time = { at = "json:/signature/timestamp", tolerance = "off" }
    "#;
    let verification = verification(toml, &["key-3ax6xnjp29jd6fds4gc373sgvjxteol0"]);
    let body = r#"{"signature":{"timestamp":"1403645220","token":"5egbgr1vjgqxtrnp65xfznchgdccwh5d6i09vijqi3whgowmn6",
        "signature":"9cfc5c41582e51246e73c88d34db3af0a3a2692a76fbab81492842f000256d33"},"event-data":{}}"#;
    assert!(verify(&verification, &post(&[], body.as_bytes()), at(0)).is_ok());
}

/// The published vector of Braintree's challenge, in the form of its notifications.
#[test]
fn form_fields_and_hashed_keys_by_the_published_vector_of_braintree() {
    let toml = r#"
        [scheme.hmac]
        hash = "sha1"
        key = "sha1_of_text"
        signed = "{form:bt_payload}"
        signature = { at = "form:bt_signature", split = "&", item = "*|" }
    "#;
    let verification = verification(toml, &["integration_private_key"]);
    let body = b"bt_signature=other%7C00%26integration_public_key%7Cd9b899556c966b3f06945ec21311865d35df3ce4\
        &bt_payload=20f9f8ed05f77439fe955c977e4c8a53";
    assert!(verify(&verification, &post(&[], body), at(0)).is_ok());
}

/// The published vectors of HubSpot, the first version; PayU's form was computed.
#[test]
fn digests_of_secrets() {
    let secret = "yyyyyyyy-yyyy-yyyy-yyyy-yyyyyyyyyyyy";
    let toml = r#"
        [scheme.digest]
        hash = "sha256"
        signed = "{secret}{body}"
        signature = { at = "header:x-signature" }
    "#;
    let signature = b"69fc6631a867edd4f9e9e627fc5c1148e3fbdd8b21837b6d2b8901c1fa57f750";
    let body = b"{'example_field':'example_value'}";
    check(toml, secret, &[("x-signature", signature)], body, 0);
    let toml = r#"
        [scheme.digest]
        hash = "sha512"
        signed = "{secret}|{form:status}||||||{form:udf5}|{form:udf4}|{form:udf3}|{form:udf2}|{form:udf1}|{form:email}|{form:firstname}|{form:productinfo}|{form:amount}|{form:txnid}|{form:key}"
        signature = { at = "form:hash" }
    "#;
    let verification = verification(toml, &[SECRET]);
    let body = "status=success&udf1=a&email=priya%40example.com&firstname=Priya&productinfo=Plan&amount=1500.00\
        &txnid=fd3e847h2&key=gtKFFx&mihpayid=1&hash=fc6b61b8da1e3096e74de75223e4f376e9786c91c93a346a49b0759d46d22b5\
        952789e466dc62bc14dcfa9f940628b2c89e651bd25d67f583927dd8fdaa4c157";
    assert!(verify(&verification, &post(&[], body.as_bytes()), at(0)).is_ok());
    let changed = body.replace("1500.00", "1.00");
    let verified = verify(&verification, &post(&[], changed.as_bytes()), at(0));
    assert_eq!(verified, Err(Unverified::NoMatch));
}

#[test]
fn tokens_and_passwords() {
    let toml = r#"
        [scheme.token]
        at = "header:authorization"
        form = "sha256"
    "#;
    let sent = b"e3b19050d67bda3cbc4c727d2f212ded3eb6af12ace6cc33753ff7824ec10cc5";
    let phonepe = verification(toml, &["merchant_1:Passw0rd1"]);
    assert!(verify(&phonepe, &post(&[("authorization", sent)], b""), at(0)).is_ok());
    // RFC 7617, section 2.
    let basic = verification("[scheme.basic]", &["Aladdin:open sesame"]);
    let sent = b"basic  QWxhZGRpbjpvcGVuIHNlc2FtZQ==";
    assert!(verify(&basic, &post(&[("authorization", sent)], b""), at(0)).is_ok());
}

/// The published vector of Paddle, with three secrets and two signatures.
#[test]
fn several_secrets_and_signatures_by_the_published_vector_of_paddle() {
    let toml = r#"
        [scheme.hmac]
        signed = "{timestamp}:{body}"
        signature = { at = "header:paddle-signature", split = ";", item = "h1=" }
        time = { at = "item:ts" }
    "#;
    let third = "pdl_ntf_01hbpjmytsa32fhr36nqgc3kgb_WvRO0eL4Bj9rgYYIBZY6wZhG4EHy9jzh";
    let verification = verification(toml, &["the first one", "the second one", third]);
    let sent = b"ts=1696195954;h1=dummy;h1=d96299976a6eb066f484d7fde011ac56fc32b38fc9940bc419d6e537fdc6ef02";
    let headers = [("paddle-signature", &sent[..])];
    let request = post(&headers, b"hello-world");
    let verified = verify(&verification, &request, at(1_696_195_954)).unwrap();
    assert_eq!(verified.secret_index, 2);
    assert_eq!(verification.secret_name(2), Some(("secret", 2)));
    assert_eq!(verification.secret_count(), 3);
}

#[test]
fn other_hash_functions_and_prefixes() {
    let body = b"Test Payload Body";
    let sha512 = r#"
        [scheme.hmac]
        hash = "sha512"
        signed = "{body}"
        signature = { at = "header:x-signature" }
    "#;
    let sent = b"83306382f5361d35351d6de45998f23b52f40bcf96befe4e92f137c0f1bf4a7119388b238d8f9d502ac77e6f1a8849a4778272667ed88d530cac8050bd1fee2d";
    check(sha512, "Convoy", &[("x-signature", sent)], body, 0);
    let prefixed = r#"
        [scheme.hmac]
        signed = "{body}"
        signature = { at = "header:x-signature", prefix = "sha256=", encoding = "base64" }
    "#;
    let sent = b"sha256=16FUVH58NeMcTIIOICN2UJOcPTTa4TbjCndXymGrtM8=";
    check(prefixed, "Convoy", &[("x-signature", sent)], body, 0);
    let optional = prefixed.replace("prefix =", "prefix_optional = true, prefix =");
    check(&optional, "Convoy", &[("x-signature", sent)], body, 0);
    check(&optional, "Convoy", &[("x-signature", &sent[7..])], body, 0);
    let verification = verification(prefixed, &["Convoy"]);
    let headers = [("x-signature", &sent[7..])];
    let request = post(&headers, body);
    let verified = verify(&verification, &request, at(0));
    assert_eq!(
        verified,
        Err(Unverified::Malformed {
            place: place("header:x-signature")
        })
    );
}

/// RFC 4231, test case 2, and RFC 2202, test case 2.
#[test]
fn the_published_vectors_of_hmac() {
    let body = b"what do ya want for nothing?";
    let sha256 = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
    let sha512 = "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fd\
        caeab1a34d4a6b4b636e070a38bce737";
    for (hash, tag) in [
        ("sha1", "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
        ("sha256", sha256),
        ("sha512", sha512),
    ] {
        let toml = format!(
            r#"scheme.hmac = {{ hash = "{hash}", signed = "{{body}}", signature = {{ at = "header:x-s" }} }}"#
        );
        for tag in [tag.to_owned(), tag.to_uppercase()] {
            check(&toml, "Jefe", &[("x-s", tag.as_bytes())], body, 0);
        }
    }
}
