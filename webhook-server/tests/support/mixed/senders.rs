//! The senders of the mixed test: one for each preset that can be signed here, with what it sends.

use std::time::SystemTime;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as STANDARD;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519};
use webhook_sources::spec::SourceSpec;
use webhook_sources::{Outgoing, Request, Secrets, Source, SourceOptions, preset};

/// What senders see of the server.
pub(super) const PUBLIC_URL: &str = "https://hooks.example.com";

/// The presets whose senders alone have the keys: the server fetches what verifies them.
pub(super) const FETCHED: [&str; 4] = ["paypal", "plaid", "pubsub", "sns"];

/// In [`Sender::body`], the content of an event: other content with the same id is a conflict.
const CONTENT: &str = "{content}";
/// In all texts of a [`Sender`], the number of an event.
const NUMBER: &str = "{n}";

/// The secret of the senders whose answers to handshakes are computed with it; the answers are those of the tests of
/// the presets.
const KNOWN_SECRET: &str = "shh-this-is-a-secret";
const VERIFY_TOKEN: &str = "verify-token-of-the-mixed-test";

/// A key that ring cannot make, for tests only.
const RSA_KEY: &str = include_str!("../../../../webhook-sources/src/verification/tests/rsa.pem");

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

/// What a sender of a preset sends.
pub(super) struct Sender {
    /// The name of the source.
    pub(super) name: &'static str,
    pub(super) preset: &'static str,
    secret: Secret,
    content_type: &'static str,
    headers: &'static [(&'static str, &'static str)],
    body: &'static str,
    pub(super) ids: Ids,
    /// A part of a signed body, and what to replace it with so that the signature is wrong; none if the sender signs
    /// nothing of the body.
    pub(super) altered: Option<(&'static str, &'static str)>,
    pub(super) handshakes: &'static [Handshake],
}

/// The ids of the events of a delivery.
pub(super) enum Ids {
    /// These, one for each event.
    Named(&'static [&'static str]),
    /// This text, and the SHA-256 of the body.
    Hash(&'static str),
    /// The hash of a part of the body.
    HashOfPart,
    /// Another one for each delivery.
    Generated,
}

/// The form of a secret.
enum Secret {
    Text(&'static str),
    Hex,
    /// After `whsec_`.
    Base64(&'static str),
    UserAndPassword,
    Known,
    WithVerifyToken,
    Ed25519,
    EcdsaP256,
    Rsa,
}

/// A request by which a sender checks the address.
pub(super) struct Handshake {
    pub(super) method: &'static str,
    pub(super) query: &'static str,
    pub(super) headers: &'static [(&'static str, &'static str)],
    pub(super) body: &'static str,
    pub(super) is_signed: bool,
    pub(super) status: u16,
    pub(super) answer: &'static str,
}

const SENDER: Sender = Sender {
    name: "",
    preset: "",
    secret: Secret::Text("secret"),
    content_type: JSON,
    headers: &[],
    body: "",
    ids: Ids::Named(&[]),
    altered: Some(("content-0", "content-9")),
    handshakes: &[],
};

const HANDSHAKE: Handshake = Handshake {
    method: "POST",
    query: "",
    headers: &[],
    body: "",
    is_signed: false,
    status: 200,
    answer: "",
};

const fn sender(name: &'static str, body: &'static str, ids: Ids) -> Sender {
    Sender {
        name,
        preset: name,
        body,
        ids,
        ..SENDER
    }
}

/// A sender with its id in this header, of JSON without an id.
const fn with_header(
    name: &'static str,
    headers: &'static [(&'static str, &'static str)],
) -> Sender {
    Sender {
        headers,
        ..sender(
            name,
            r#"{"number": {n}, "text":"{content}", "n": 1.50}"#,
            Ids::Named(&["id-{n}"]),
        )
    }
}

const fn named(name: &'static str, body: &'static str) -> Sender {
    sender(name, body, Ids::Named(&["id-{n}"]))
}

const fn hashed(name: &'static str, body: &'static str) -> Sender {
    sender(name, body, Ids::Hash(""))
}

/// All senders.
pub(super) const SENDERS: &[Sender] = &[
    named(
        "stripe",
        r#"{"id":"id-{n}","type":"charge.succeeded","pending_webhooks":1,"text":"{content}"}"#,
    ),
    with_header("razorpay", &[("x-razorpay-event-id", "id-{n}")]),
    with_header("cashfree", &[("x-idempotency-key", "id-{n}")]),
    Sender {
        content_type: FORM,
        ..sender(
            "payu",
            "mihpayid=4{n}&status=success&txnid=id-{n}&amount=1500.00&productinfo={content}&firstname=Priya\
             &email=priya%40example.com&udf1=a&udf2=&key=gtKFFx",
            Ids::Named(&["id-{n}:success"]),
        )
    },
    Sender {
        secret: Secret::UserAndPassword,
        altered: None,
        ..sender(
            "phonepe",
            r#"{"event":"checkout.order.completed","payload":{"orderId":"{n}","state":"COMPLETED","text":"{content}"}}"#,
            Ids::Named(&["checkout.order.completed:{n}:COMPLETED"]),
        )
    },
    Sender {
        secret: Secret::Hex,
        ..sender(
            "adyen",
            r#"{"live": "false", "notificationItems": [{"NotificationRequestItem": {"pspReference": "{n}", "originalReference": "O1", "merchantAccountCode": "TestMerchant", "merchantReference": "{content}", "amount": {"value": 1130, "currency": "EUR"}, "eventCode": "CAPTURE", "success": "true"}}]}"#,
            Ids::Named(&["CAPTURE:{n}:true"]),
        )
    },
    Sender {
        secret: Secret::Hex,
        ..hashed(
            "adyen-platform",
            r#"{"type":"transfer.updated","data":{"id":"{n}","text":"{content}"}}"#,
        )
    },
    named(
        "square",
        r#"{"merchant_id":"M","type":"payment.created","event_id":"id-{n}","text":"{content}"}"#,
    ),
    Sender {
        content_type: FORM,
        ..hashed("braintree", "bt_payload=PD94bWwg{n}{content}%0A")
    },
    named(
        "paddle",
        r#"{"event_id":"id-{n}","event_type":"transaction.paid","notification_id":"ntf_1","text":"{content}"}"#,
    ),
    hashed(
        "lemonsqueezy",
        r#"{"meta":{"event_name":"order_created"},"data":{"id":"{n}","text":"{content}"}}"#,
    ),
    named(
        "mollie",
        r#"{"resource":"event","id":"id-{n}","type":"payment-link.paid","text":"{content}"}"#,
    ),
    named(
        "checkout",
        r#"{"id":"id-{n}","type":"payment_approved","data":{"text":"{content}"}}"#,
    ),
    named(
        "coinbase-commerce",
        r#"{"attempt_number":1,"event":{"id":"id-{n}","type":"charge:created","text":"{content}"},"id":1}"#,
    ),
    sender(
        "gocardless",
        r#"{"events":[{"id":"id-{n}a","action":"paid_out","text":"{content}"}, {"id":"id-{n}b","action":"failed","text":"{content}"}]}"#,
        Ids::Named(&["id-{n}a", "id-{n}b"]),
    ),
    Sender {
        secret: Secret::Rsa,
        ..with_header("wise", &[("x-delivery-id", "id-{n}")])
    },
    Sender {
        secret: Secret::UserAndPassword,
        altered: None,
        ..named(
            "chargebee",
            r#"{"id":"id-{n}","event_type":"subscription_created","webhooks":[{"id":"1"}],"text":"{content}"}"#,
        )
    },
    with_header(
        "shopify",
        &[
            ("x-shopify-topic", "orders/create"),
            ("x-shopify-webhook-id", "id-{n}"),
        ],
    ),
    Sender {
        secret: Secret::Text("secret with &lt; and &amp;"),
        headers: &[("x-wc-webhook-topic", "order.updated")],
        handshakes: &[Handshake {
            headers: &[("content-type", FORM)],
            body: "webhook_id=12",
            ..HANDSHAKE
        }],
        ..sender(
            "woocommerce",
            r#"{"id":{n},"text":"{content}"}"#,
            Ids::Hash("order.updated:"),
        )
    },
    with_header(
        "github",
        &[("x-github-delivery", "id-{n}"), ("x-github-event", "push")],
    ),
    Sender {
        secret: Secret::Base64("signing_token"),
        ..with_header("gitlab", &[("x-gitlab-event", "Push Hook")])
    },
    Sender {
        preset: "gitlab",
        altered: None,
        ..with_header(
            "gitlab-token",
            &[
                ("x-gitlab-event", "Push Hook"),
                ("idempotency-key", "id-{n}"),
            ],
        )
    },
    with_header(
        "bitbucket",
        &[("x-event-key", "repo:push"), ("x-request-uuid", "id-{n}")],
    ),
    with_header("jira", &[("x-atlassian-webhook-identifier", "id-{n}")]),
    with_header("linear", &[("linear-delivery", "id-{n}")]),
    Sender {
        handshakes: &[Handshake {
            method: "HEAD",
            ..HANDSHAKE
        }],
        ..named(
            "trello",
            r#"{"action":{"id":"id-{n}","type":"updateCard","text":"{content}"},"model":{"id":"1"}}"#,
        )
    },
    named(
        "vercel",
        r#"{"id":"id-{n}","type":"deployment.created","text":"{content}"}"#,
    ),
    Sender {
        handshakes: &[
            Handshake {
                body: r#"{"type":"url_verification","challenge":"abc 123"}"#,
                is_signed: true,
                answer: "abc 123",
                ..HANDSHAKE
            },
            Handshake {
                body: r#"{"type":"url_verification","challenge":"abc 123"}"#,
                status: 401,
                ..HANDSHAKE
            },
        ],
        ..named(
            "slack",
            r#"{"type":"event_callback","event_id":"id-{n}","event":{"type":"app_mention","text":"{content}"}}"#,
        )
    },
    Sender {
        secret: Secret::Ed25519,
        handshakes: &[
            Handshake {
                body: r#"{"version":1,"application_id":"1","type":0}"#,
                is_signed: true,
                status: 204,
                ..HANDSHAKE
            },
            Handshake {
                body: r#"{"version":1,"application_id":"1","type":0}"#,
                status: 401,
                ..HANDSHAKE
            },
        ],
        ..hashed(
            "discord",
            r#"{"version":1,"type":1,"event":{"type":"demo","number":{n},"text":"{content}"}}"#,
        )
    },
    Sender {
        content_type: FORM,
        headers: &[("i-twilio-idempotency-token", "id-{n}")],
        ..named(
            "twilio",
            "To=B&MessageSid=SM{n}&Body={content}&To=A&MessageStatus=sent",
        )
    },
    Sender {
        secret: Secret::EcdsaP256,
        ..sender(
            "sendgrid",
            "[{\"sg_event_id\":\"id-{n}a\",\"event\":\"open\",\"text\":\"{content}\"},\r\n{\"sg_event_id\":\"id-{n}b\",\"event\":\"click\",\"text\":\"{content}\"}]\r\n",
            Ids::Named(&["id-{n}a", "id-{n}b"]),
        )
    },
    Sender {
        altered: Some(("token-", "tokem-")),
        ..named(
            "mailgun",
            r#"{"signature": {"token": "token-{n}"}, "event-data": {"id": "id-{n}", "event": "opened", "text": "{content}"}}"#,
        )
    },
    Sender {
        secret: Secret::UserAndPassword,
        altered: None,
        ..with_header("postmark", &[("x-pm-webhook-trace-id", "id-{n}")])
    },
    Sender {
        secret: Secret::Known,
        handshakes: &[Handshake {
            body: r#"{"payload":{"plainToken":"qgg8vlvZRS6UYooatFL8Aw"},"event_ts":1,"event":"endpoint.url_validation"}"#,
            is_signed: true,
            answer: r#"{"plainToken":"qgg8vlvZRS6UYooatFL8Aw","encryptedToken":"f5e00fa1d73f91b62e9ecae3429b69ffe29b01ba9b11b88b0eb914290219acef"}"#,
            ..HANDSHAKE
        }],
        ..hashed(
            "zoom",
            r#"{"event":"meeting.started","event_ts":{n},"payload":{"text":"{content}"}}"#,
        )
    },
    Sender {
        altered: None,
        ..sender(
            "telegram",
            r#"{"update_id":{n},"message":{"text":"{content}"}}"#,
            Ids::Named(&["{n}"]),
        )
    },
    Sender {
        secret: Secret::WithVerifyToken,
        handshakes: &[
            Handshake {
                method: "GET",
                query: "?hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=verify-token-of-the-mixed-test",
                answer: "1158201444",
                ..HANDSHAKE
            },
            Handshake {
                method: "GET",
                query: "?hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=another",
                status: 403,
                ..HANDSHAKE
            },
        ],
        ..hashed(
            "meta",
            r#"{"object":"whatsapp_business_account","entry":[{"id":"{n}","text":"{content}"}]}"#,
        )
    },
    Sender {
        secret: Secret::Known,
        handshakes: &[
            Handshake {
                method: "GET",
                query: "?crc_token=challenge-token",
                answer: r#"{"response_token":"sha256=9ZgzgzFwgTeTjeAcWSix/FKE9WfzPpIvspzHRcnfyGw="}"#,
                ..HANDSHAKE
            },
            // A delivery, which the server does not sign.
            Handshake {
                method: "GET",
                query: "?crc_token=%7B%22for_user_id%22%3A%221%22%7D",
                status: 401,
                ..HANDSHAKE
            },
        ],
        ..hashed(
            "x",
            r#"{"for_user_id":"{n}","tweet_create_events":["{content}"]}"#,
        )
    },
    sender(
        "hubspot",
        r#"[{"eventId":{n},"subscriptionId":2,"portalId":3,"occurredAt":4,"subscriptionType":"contact.creation","attemptNumber":0,"text":"{content}"},{"eventId":{n},"subscriptionId":2,"portalId":3,"occurredAt":5,"subscriptionType":"contact.creation","attemptNumber":0,"text":"{content}"}]"#,
        Ids::Named(&["3:2:{n}:4", "3:2:{n}:5"]),
    ),
    sender(
        "docusign",
        r#"{"event":"envelope-completed","retryCount":0,"data":{"envelopeId":"{n}","text":"{content}"}}"#,
        Ids::HashOfPart,
    ),
    named(
        "intercom",
        r#"{"type":"notification_event","id":"id-{n}","topic":"user.created","delivery_attempts":1,"text":"{content}"}"#,
    ),
    with_header("zendesk", &[("x-zendesk-webhook-invocation-id", "id-{n}")]),
    hashed(
        "calendly",
        r#"{"event":"invitee.created","payload":{"uri":"{n}","text":"{content}"}}"#,
    ),
    named(
        "typeform",
        r#"{"event_id":"id-{n}","event_type":"form_response","text":"{content}"}"#,
    ),
    hashed(
        "webflow",
        r#"{"triggerType":"form_submission","payload":{"id":"{n}","text":"{content}"}}"#,
    ),
    with_header("sanity", &[("idempotency-key", "id-{n}")]),
    Sender {
        handshakes: &[Handshake {
            method: "GET",
            query: "?challenge=abc123",
            answer: "abc123",
            ..HANDSHAKE
        }],
        ..sender(
            "dropbox",
            r#"{"list_folder":{"accounts":["dbid:{n}","{content}"]}}"#,
            Ids::Generated,
        )
    },
    Sender {
        altered: None,
        handshakes: &[Handshake {
            method: "GET",
            headers: &[("x-okta-verification-challenge", "abc\"123")],
            answer: r#"{"verification":"abc\"123"}"#,
            ..HANDSHAKE
        }],
        ..sender(
            "okta",
            r#"{"eventId":"1","data":{"events":[{"uuid":"id-{n}a","eventType":"user.session.start","text":"{content}"},{"uuid":"id-{n}b","eventType":"group.user","text":"{content}"}]}}"#,
            Ids::Named(&["id-{n}a", "id-{n}b"]),
        )
    },
    Sender {
        altered: None,
        handshakes: &[Handshake {
            query: "?validationToken=Validation%3A+Testing+%2F+1",
            answer: "Validation: Testing / 1",
            ..HANDSHAKE
        }],
        ..sender(
            "msgraph",
            r#"{"value": [{"id": "id-{n}a", "changeType": "created", "text": "{content}"}, {"id": "id-{n}b", "changeType": "deleted", "text": "{content}"}]}"#,
            Ids::Named(&["id-{n}a", "id-{n}b"]),
        )
    },
    Sender {
        secret: Secret::Base64("secret"),
        ..with_header("standard-webhooks", &[])
    },
    Sender {
        secret: Secret::Base64("secret"),
        ..with_header("svix", &[])
    },
    with_header("polar", &[]),
    Sender {
        altered: None,
        handshakes: &[Handshake {
            method: "OPTIONS",
            headers: &[("webhook-request-origin", "eventemitter.example.com")],
            ..HANDSHAKE
        }],
        ..sender(
            "cloudevents",
            r#"{"data":"{content}"}"#,
            Ids::Named(&["/source:{n}"]),
        )
    }
    .with_headers(&[
        ("ce-id", "{n}"),
        ("ce-source", "/source"),
        ("ce-type", "demo"),
        ("ce-specversion", "1.0"),
    ]),
];

/// A sender with its secrets, and with those of somebody else.
pub(super) struct Ready {
    pub(super) sender: &'static Sender,
    /// The names of the secrets that the server has, and these.
    pub(super) secrets: Vec<(&'static str, String)>,
    pub(super) genuine: Source,
    /// None for RSA, of which ring makes no second key.
    pub(super) forger: Option<Source>,
}

/// A request to a source.
#[derive(Clone)]
pub(super) struct Delivery {
    pub(super) target: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Sender {
    const fn with_headers(self, headers: &'static [(&'static str, &'static str)]) -> Self {
        Self { headers, ..self }
    }

    pub(super) fn spec(&self) -> &'static SourceSpec {
        &preset::get(self.preset).unwrap().spec
    }

    pub(super) fn target(&self) -> String {
        format!("/v1/webhooks/{}", self.name)
    }

    pub(super) fn ready(&'static self) -> Ready {
        let (secrets, genuine) = self.secrets("of the sender");
        let (_, forged) = self.secrets("of somebody else");
        Ready {
            sender: self,
            secrets,
            genuine: self.source(genuine),
            forger: (!matches!(self.secret, Secret::Rsa)).then(|| self.source(forged)),
        }
    }

    /// The secrets that the server has, and those that sign.
    fn secrets(&self, whose: &str) -> (Vec<(&'static str, String)>, Secrets) {
        let text = format!("secret-{}-{}", self.name, whose.replace(' ', "-"));
        let mut server = Vec::new();
        let mut signing = Secrets::new();
        let mut shared = |name, secret: String| {
            signing = std::mem::take(&mut signing).with(name, secret.as_str());
            server.push((name, secret));
        };
        let mut pair = None;
        match self.secret {
            Secret::Text("secret") => shared("secret", text),
            Secret::Text(other) => shared("secret", format!("{other} {whose}")),
            Secret::Hex => shared("secret", hex::encode(format!("{text:a<32}"))),
            Secret::Base64(name) => shared(name, format!("whsec_{}", STANDARD.encode(&text))),
            Secret::UserAndPassword => shared("secret", format!("user:{text}")),
            Secret::Known if whose == "of the sender" => shared("secret", KNOWN_SECRET.to_owned()),
            Secret::Known => shared("secret", text),
            Secret::WithVerifyToken => {
                shared("secret", text);
                shared("verify_token", VERIFY_TOKEN.to_owned());
            }
            Secret::Ed25519 => pair = Some(KeyPair::generate_for(&PKCS_ED25519).unwrap()),
            Secret::EcdsaP256 => {
                pair = Some(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap());
            }
            Secret::Rsa => pair = Some(KeyPair::from_pem(RSA_KEY).unwrap()),
        }
        if let Some(pair) = pair {
            let public = match self.secret {
                Secret::Ed25519 => hex::encode(pair.public_key_raw()),
                _ => pair.public_key_pem(),
            };
            server.push(("public_key", public));
            signing = signing.with("public_key", pair.serialize_pem());
        }
        (server, signing)
    }

    fn source(&self, secrets: Secrets) -> Source {
        let options = SourceOptions {
            public_url: Some(format!("{PUBLIC_URL}{}", self.target())),
            ..SourceOptions::default()
        };
        Source::new(self.spec().clone(), &secrets, options)
            .unwrap_or_else(|problems| panic!("{}: {problems:?}", self.name))
    }

    /// The ids of the delivery with this number, if they are known before it is signed.
    pub(super) fn named_ids(&self, number: u32) -> Vec<String> {
        match self.ids {
            Ids::Named(ids) => ids.iter().map(|id| filled(id, number, 0)).collect(),
            Ids::Hash(_) | Ids::HashOfPart | Ids::Generated => Vec::new(),
        }
    }

    /// A delivery that is not signed.
    pub(super) fn delivery(&self, number: u32, content: u32) -> Delivery {
        let headers = self.headers.iter();
        let headers = headers.map(|(name, value)| (*name, filled(value, number, content)));
        let all = [("content-type", self.content_type.to_owned())];
        Delivery {
            target: self.target(),
            headers: all
                .into_iter()
                .chain(headers)
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
            body: filled(self.body, number, content).into_bytes(),
        }
    }
}

fn filled(text: &str, number: u32, content: u32) -> String {
    text.replace(NUMBER, &number.to_string())
        .replace(CONTENT, &format!("content-{content}"))
}

impl Delivery {
    /// The delivery, signed by `source`.
    pub(super) fn signed(mut self, source: &Source, id: &str, at: SystemTime) -> Self {
        let headers = self.headers.iter();
        let headers: Vec<_> = headers
            .map(|(name, value)| (name.as_str(), value.as_bytes()))
            .collect();
        let outgoing = Outgoing {
            request: Request {
                method: "POST",
                target: &self.target,
                headers: &headers,
                body: &self.body,
            },
            message_id: Some(id),
        };
        let signed = source.sign(&outgoing, at).unwrap();
        self.headers.extend(signed.headers);
        Self {
            target: signed.target,
            body: signed.body,
            ..self
        }
    }
}
