"""Prints a delivery of each preset, signed with Python's own hmac and hashlib, as a JSON array.

The bodies are short ones with the members that the sender documents. `ids`, `event_types` and `answer` are what the
preset must make of them. scripts/record-sdk-signatures runs this.
"""

import base64
import hashlib
import hmac
import json
import sys

NOW = 1700000000
NOW_MS = "1700000000123"
NOW_RFC3339 = "2023-11-14T22:13:20Z"
URL = "https://example.com/v1/webhooks/demo"
SECRET = "shh-this-is-a-secret"
HEX_KEY = "00" * 31 + "01"
WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
JSON_TYPE = ["content-type", "application/json"]
FORM_TYPE = ["content-type", "application/x-www-form-urlencoded"]
OK = [200, ""]
recorded = []


def add(preset, headers, body, ids, event_types, *, altered="", answer=OK, secrets=None, url=None, target=None, method="POST"):
    recorded.append(
        {
            "preset": preset,
            "from": "computed",
            "now": NOW,
            "secrets": secrets or {"secret": [SECRET]},
            "public_url": url,
            "method": method,
            "target": target or "/v1/webhooks/demo",
            "headers": headers,
            "body": body,
            "altered_body": body.replace("1", "2", 1) if altered == "" else altered,
            "ids": ids,
            "event_types": event_types,
            "answer": answer,
        }
    )


def mac(message, hash=hashlib.sha256, key=SECRET.encode()):
    return hmac.new(key, message.encode(), hash)


def hexed(message, **more):
    return mac(message, **more).hexdigest()


def base64ed(message, **more):
    return base64.b64encode(mac(message, **more).digest()).decode()


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


def by_body(preset, header, body, ids, event_types, *, sign=hexed, prefix="", extra=(), **more):
    """A sender that signs the body and nothing else."""
    headers = [JSON_TYPE, [header, prefix + sign(body)], *extra]
    add(preset, headers, body, ids, event_types, **more)


# Payments
body = '{"id":"evt_1","object":"event","type":"charge.succeeded","pending_webhooks":1}'
add("stripe", [JSON_TYPE, ["Stripe-Signature", f"t={NOW},v1={hexed(f'{NOW}.{body}')},v0=00"]], body, ["evt_1"], ["charge.succeeded"])

body = '{"entity":"event","event":"payment.captured","created_at":1}'
by_body("razorpay", "X-Razorpay-Signature", body, ["Hj1"], ["payment.captured"], extra=[["x-razorpay-event-id", "Hj1"]])

body = '{"data":{"payment":{"payment_amount":170.00}},"type":"PAYMENT_SUCCESS_WEBHOOK"}'
add(
    "cashfree",
    [JSON_TYPE, ["x-webhook-signature", base64ed(NOW_MS + body)], ["x-webhook-timestamp", NOW_MS], ["x-idempotency-key", "key-1"]],
    body, ["key-1"], ["PAYMENT_SUCCESS_WEBHOOK"],
)

payu = "|success||||||||||a|priya@example.com|Priya|Plan|1500.00|fd3e847h2|gtKFFx"
fields = "mihpayid=403993&status=success&txnid=fd3e847h2&amount=1500.00&productinfo=Plan&firstname=Priya&email=priya%40example.com&udf1=a&udf2=&key=gtKFFx"
for charges, signed in [("", SECRET + payu), ("&additionalCharges=10", "10|" + SECRET + payu)]:
    digest = hashlib.sha512(signed.encode()).hexdigest()
    body = f"{fields}{charges}&hash={digest}"
    add("payu", [FORM_TYPE], body, ["fd3e847h2:success"], ["success"], altered=body.replace("1500", "2500"))
    document = dict(field.split("=") for field in body.replace("%40", "@").split("&"))
    document = json.dumps(document)
    add("payu", [JSON_TYPE], document, ["fd3e847h2:success"], ["success"], altered=document.replace("1500", "2500"))

body = '{"event":"checkout.order.completed","payload":{"orderId":"OMO1","state":"COMPLETED"}}'
add(
    "phonepe", [JSON_TYPE, ["Authorization", sha256("merchant_1:Passw0rd1")]], body,
    ["checkout.order.completed:OMO1:COMPLETED"], ["checkout.order.completed"],
    secrets={"secret": ["merchant_1:Passw0rd1"]}, altered=None,
)
body = '{"event":"pg.refund.completed","payload":{"refundId":"OMR1","merchantRefundId":"m","state":"COMPLETED"}}'
add(
    "phonepe", [JSON_TYPE, ["Authorization", sha256("merchant_1:Passw0rd1")]], body,
    ["pg.refund.completed:OMR1:COMPLETED"], ["pg.refund.completed"],
    secrets={"secret": ["merchant_1:Passw0rd1"]}, altered=None,
)

item = {
    "pspReference": "7914073381342284", "originalReference": "O1", "merchantAccountCode": "TestMerchant",
    "merchantReference": "Test:Payment", "amount": {"value": 1130, "currency": "EUR"}, "eventCode": "CAPTURE", "success": "true",
}
signature = base64ed("7914073381342284:O1:TestMerchant:Test:Payment:1130:EUR:CAPTURE:true", key=bytes.fromhex(HEX_KEY))
item["additionalData"] = {"hmacSignature": signature}
unsigned = {"NotificationRequestItem": {**item, "pspReference": "unsigned"}}
body = json.dumps({"live": "false", "notificationItems": [{"NotificationRequestItem": item}, unsigned]})
add(
    "adyen", [JSON_TYPE], body, ["CAPTURE:7914073381342284:true"], ["CAPTURE"],
    answer=[200, "[accepted]"], secrets={"secret": [HEX_KEY]}, altered=body.replace("1130", "2130", 1),
)
body = '{"type":"balancePlatform.transfer.updated","data":{"id":"1"}}'
by_body(
    "adyen-platform", "HmacSignature", body, [sha256(body)], ["balancePlatform.transfer.updated"],
    sign=lambda it: base64ed(it, key=bytes.fromhex(HEX_KEY)), answer=[200, "[accepted]"], secrets={"secret": [HEX_KEY]},
)

body = '{"merchant_id":"M","type":"payment.created","event_id":"ev-1"}'
add(
    "square", [JSON_TYPE, ["x-square-hmacsha256-signature", base64ed(URL + body)]], body, ["ev-1"], ["payment.created"], url=URL,
)

private_key = hashlib.sha1(SECRET.encode()).digest()
for end in ["", "\n"]:
    payload = "PD94bWwg\nPG5vdGlm\n"
    signature = hexed(payload + end, hash=hashlib.sha1, key=private_key)
    body = f"bt_signature=other%7C00%26public%7C{signature}&bt_payload=PD94bWwg%0APG5vdGlm%0A"
    add("braintree", [FORM_TYPE], body, [sha256(body)], [None], altered=body.replace("PD94", "PD95"))

body = '{"event_id":"evt_1","event_type":"transaction.paid","notification_id":"ntf_1"}'
add(
    "paddle", [JSON_TYPE, ["Paddle-Signature", f"ts={NOW};h1=00;h1={hexed(f'{NOW}:{body}')}"]], body, ["evt_1"], ["transaction.paid"],
)

body = '{"meta":{"event_name":"order_created"},"data":{"type":"orders","id":"1"}}'
by_body("lemonsqueezy", "X-Signature", body, [sha256(body)], ["order_created"])

body = '{"resource":"event","id":"event_1","type":"payment-link.paid"}'
by_body("mollie", "X-Mollie-Signature", body, ["event_1"], ["payment-link.paid"], prefix="sha256=")
by_body(
    "mollie", "X-Mollie-Signature", body, ["event_1"], ["payment-link.paid"], extra=[["X-Mollie-Signature", "sha256=" + "0" * 64]],
)

body = '{"id":"evt_1","type":"payment_approved","data":{}}'
by_body("checkout", "Cko-Signature", body, ["evt_1"], ["payment_approved"])

body = '{"attempt_number":1,"event":{"id":"ev-1","type":"charge:created"},"id":1}'
by_body("coinbase-commerce", "X-CC-Webhook-Signature", body, ["ev-1"], ["charge:created"])

body = '{"events":[{"id":"EV1","action":"paid_out"},{"id":"EV2","action":"failed"}]}'
by_body("gocardless", "Webhook-Signature", body, ["EV1", "EV2"], ["paid_out", "failed"])

wise_key = (
    "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAvTYG7xURkF+K5IRWYgFvD5acj5JT1EtlONnEW168nELEm0F8j06DWPbAYbNTR0fR0+YdOHdb"
    "9I4IFzAGRcXNyInTrSqYXjE1UsJaJVrTsuGXPJdh1zr1T3mwmieyWqgHqkfr0zmpSBnDwDsPmPa/81oCg0FpMnRlmOQgMEjWJLUwbkYSHE6Z576ZRNJs"
    "zefcyntOwlcWEXMp/5pgjt7YFWSbYaKmCXdXHZkHn8Rq+g1kTOVFNJ+IwKhSchZGNOqm7yZzeyibrbV23pu+I3+z9AqPp//eK2IZ2YRGHnsnme1Xzpdu"
    "hhR+Q7gLlwiK0vCS1lmX6yXZO0DPygiKC0lwlwIDAQAB"
)
wise_signature = (
    "psJKwc/7qTT3+lTY8oqn14GDMuuPCj5+ZXAGYG2nStrYkCi1YDmzF4M1jTJuZ2bA6gZU2aCjC9d2YcBoJitE5qeD1T4tWgG73PpzXoGk1YEj6t9vK3DZ"
    "VgaxQAMCtPpS3Xtt0QDTYdkJUlGUwWhCbwG1TfKbVA9oa8zlKDm1fCo5LJpkHH0MXqVCEd1dwPgFoZwPPdPlrgLa8ttekBHSMwDKbOD2yZS96c1uuNbW"
    "RS6RzCOletuNcjioJZozMt0pLX8kq7qqY8KkmLEDrvk+eNsIR1zBJ6bK+wGrSQCLDrKkwOSgAjjFqcn7L3yF4v4rGXoex/r29PfdZ7FVVitLcw=="
)
body = '{"data":{"resource":{"id":111}},"event_type":"transfers#state-change","schema_version":"2.0.0"}'
add(
    "wise", [JSON_TYPE, ["X-Signature-SHA256", wise_signature], ["X-Delivery-Id", "d-1"]], body, ["d-1"],
    ["transfers#state-change"], secrets={"public_key": [wise_key]},
)

basic = "Basic " + base64.b64encode(b"user:a password of some length").decode()
password = {"secret": ["user:a password of some length"]}
body = '{"id":"ev_1","event_type":"subscription_created","webhooks":[{"id":"1"}]}'
add("chargebee", [JSON_TYPE, ["Authorization", basic]], body, ["ev_1"], ["subscription_created"], secrets=password, altered=None)

# Commerce
body = '{"id":1,"updated_at":"2023-11-14T22:13:20Z"}'
by_body(
    "shopify", "X-Shopify-Hmac-Sha256", body, ["hook-1"], ["orders/create"], sign=base64ed,
    extra=[["X-Shopify-Topic", "orders/create"], ["X-Shopify-Webhook-Id", "hook-1"]],
)
by_body(
    "woocommerce", "X-WC-Webhook-Signature", body, ["order.updated:" + sha256(body)], ["order.updated"],
    sign=lambda it: base64ed(it, key=b"a secret with < and &"), secrets={"secret": ["a secret with &lt; and &amp;"]},
    extra=[["X-WC-Webhook-Topic", "order.updated"]],
)

# Development
body = '{"ref":"refs/heads/main","after":"1"}'
by_body(
    "github", "X-Hub-Signature-256", body, ["delivery-1"], ["push"], prefix="sha256=",
    extra=[["X-GitHub-Event", "push"], ["X-GitHub-Delivery", "delivery-1"], ["X-Hub-Signature", "sha1=00"]],
)
add(
    "gitlab", [JSON_TYPE, ["X-Gitlab-Token", SECRET], ["X-Gitlab-Event", "Push Hook"], ["Idempotency-Key", "key-1"]],
    body, ["key-1"], ["Push Hook"], altered=None,
)


def standard(prefix, key, version="v1"):
    signed = f"msg_1.{NOW}.{body}"
    return [
        [f"{prefix}-id", "msg_1"], [f"{prefix}-timestamp", str(NOW)],
        [f"{prefix}-signature", f"v1,AAAA {version},{base64ed(signed, key=key)}"],
    ]


whsec = base64.b64decode(WHSEC.removeprefix("whsec_"))
add(
    "gitlab", [JSON_TYPE, *standard("webhook", whsec), ["X-Gitlab-Event", "Push Hook"], ["Idempotency-Key", "other"]],
    body, ["msg_1"], ["Push Hook"], secrets={"signing_token": [WHSEC]},
)
by_body(
    "bitbucket", "X-Hub-Signature", body, ["uuid-1"], ["repo:push"], prefix="sha256=",
    extra=[["X-Request-UUID", "uuid-1"], ["X-Event-Key", "repo:push"]],
)
body = '{"timestamp":1,"webhookEvent":"jira:issue_created"}'
by_body(
    "jira", "X-Hub-Signature", body, ["identifier-1"], ["jira:issue_created"], prefix="sha256=",
    extra=[["X-Atlassian-Webhook-Identifier", "identifier-1"]],
)
body = '{"action":"create","type":"Issue","webhookTimestamp":1700000000123}'
by_body("linear", "Linear-Signature", body, ["delivery-1"], ["Issue"], extra=[["Linear-Delivery", "delivery-1"]])
body = '{"action":{"id":"act_1","type":"updateCard"},"model":{"id":"1"}}'
add(
    "trello", [JSON_TYPE, ["X-Trello-Webhook", base64ed(body + URL, hash=hashlib.sha1)]], body, ["act_1"], ["updateCard"], url=URL,
)
body = '{"id":"hook_1","type":"deployment.created"}'
by_body("vercel", "x-vercel-signature", body, ["hook_1"], ["deployment.created"], sign=lambda it: hexed(it, hash=hashlib.sha1))

# Communication
body = '{"type":"event_callback","event_id":"Ev1","event":{"type":"app_mention"}}'
slack = [["X-Slack-Request-Timestamp", str(NOW)], ["X-Slack-Signature", "v0=" + hexed(f"v0:{NOW}:{body}")]]
add("slack", [JSON_TYPE, *slack], body, ["Ev1"], ["app_mention"])

# The signature of RFC 8032's first key, made with another library.
discord = {"public_key": ["d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"]}
body = '{"type":1}'
signature = (
    "1695961a47c91a1ec033b819b7e87e3dbc583dd0cee6d1fd0216f58ac87b6228"
    "ae531ddbf91fb7bc28d7edf7f08604da16f54624f38a6bc0614e4dc13cd47f0f"
)
add(
    "discord", [JSON_TYPE, ["X-Signature-Ed25519", signature], ["X-Signature-Timestamp", str(NOW)]], body, [sha256(body)], [None],
    secrets=discord, answer=[204, ""],
)

add(
    "twilio",
    [FORM_TYPE, ["X-Twilio-Signature", base64ed(URL + "MessageSidSM1ToA" + "ToB", hash=hashlib.sha1)], ["I-Twilio-Idempotency-Token", "t-1"]],
    "To=B&MessageSid=SM1&To=A", ["t-1"], [None], answer=[200, "<Response/>"], url=URL,
)

token = "5egbgr1vjgqxtrnp65xfznchgdccwh5d6i09vijqi3whgowmn6"
signature = {"timestamp": str(NOW), "token": token, "signature": hexed(f"{NOW}{token}")}
body = json.dumps({"signature": signature, "event-data": {"id": "ev_1", "event": "opened"}})
add("mailgun", [JSON_TYPE], body, ["ev_1"], ["opened"], altered=body.replace("5egb", "5egc"))

body = '{"RecordType":"Bounce","ID":1}'
add(
    "postmark", [JSON_TYPE, ["Authorization", basic], ["X-PM-Webhook-Trace-Id", "trace-1"]], body, ["trace-1"], ["Bounce"],
    secrets=password, altered=None,
)

body = '{"event":"meeting.started","event_ts":1700000000123,"payload":{}}'
zoom = [["x-zm-request-timestamp", str(NOW)], ["x-zm-signature", "v0=" + hexed(f"v0:{NOW}:{body}")]]
add("zoom", [JSON_TYPE, *zoom], body, [sha256(body)], ["meeting.started"])

body = '{"update_id":1,"message":{}}'
add("telegram", [JSON_TYPE, ["X-Telegram-Bot-Api-Secret-Token", SECRET]], body, ["1"], [None], altered=None)

body = '{"object":"whatsapp_business_account","entry":[{"id":"1"}]}'
by_body("meta", "X-Hub-Signature-256", body, [sha256(body)], ["whatsapp_business_account"], prefix="sha256=", secrets={"secret": [SECRET], "verify_token": ["a verify token"]})

body = '{"for_user_id":"1","tweet_create_events":[]}'
by_body("x", "X-Twitter-Webhooks-Signature", body, [sha256(body)], [None], sign=base64ed, prefix="sha256=")

# Business
body = '[{"eventId":1,"subscriptionId":2,"portalId":3,"occurredAt":4,"subscriptionType":"contact.creation","attemptNumber":0}]'
add(
    "hubspot",
    [JSON_TYPE, ["X-HubSpot-Signature-v3", base64ed(f"POST{URL}{body}{NOW_MS}")], ["X-HubSpot-Request-Timestamp", NOW_MS]],
    body, ["3:2:1:4"], ["contact.creation"], url=URL,
)

body = '{"event":"envelope-completed","retryCount":0,"data":{"envelopeId":"1"}}'
add(
    "docusign",
    [JSON_TYPE, ["X-DocuSign-Signature-1", base64ed(body, key=b"another key")], ["X-DocuSign-Signature-2", base64ed(body)]],
    body, [None], ["envelope-completed"],
)

body = '{"type":"notification_event","id":"notif_1","topic":"user.created","delivery_attempts":1}'
by_body("intercom", "X-Hub-Signature", body, ["notif_1"], ["user.created"], prefix="sha1=", sign=lambda it: hexed(it, hash=hashlib.sha1))

body = '{"type":"zen:event-type:ticket.created","id":"1"}'
for method, sent in [("POST", body), ("GET", "")]:
    add(
        "zendesk",
        [JSON_TYPE, ["X-Zendesk-Webhook-Signature", base64ed(NOW_RFC3339 + sent)],
         ["X-Zendesk-Webhook-Signature-Timestamp", NOW_RFC3339], ["X-Zendesk-Webhook-Invocation-Id", "inv-1"]],
        sent, ["inv-1"], ["zen:event-type:ticket.created" if sent else None], method=method, altered=sent + "1",
    )

body = '{"event":"invitee.created","payload":{"uri":"1"}}'
add(
    "calendly", [JSON_TYPE, ["Calendly-Webhook-Signature", f"t={NOW},v1={hexed(f'{NOW}.{body}')}"]], body, [sha256(body)],
    ["invitee.created"],
)

body = '{"event_id":"ev_1","event_type":"form_response"}'
by_body("typeform", "Typeform-Signature", body, ["ev_1"], ["form_response"], sign=base64ed, prefix="sha256=")

body = '{"triggerType":"form_submission","payload":{"id":"1"}}'
add(
    "webflow", [JSON_TYPE, ["x-webflow-signature", hexed(f"{NOW_MS}:{body}")], ["x-webflow-timestamp", NOW_MS]],
    body, [sha256(body)], ["form_submission"],
)

body = '{"_id":"1"}'
signature = base64.urlsafe_b64encode(mac(f"{NOW_MS}.{body}").digest()).decode().rstrip("=")
add("sanity", [JSON_TYPE, ["sanity-webhook-signature", f"t={NOW_MS},v1={signature}"], ["idempotency-key", "key-1"]], body, ["key-1"], [None])

body = '{"list_folder":{"accounts":["dbid:1"]}}'
by_body("dropbox", "X-Dropbox-Signature", body, [None], [None])

body = '{"eventId":"1","data":{"events":[{"uuid":"u-1","eventType":"user.session.start"},{"uuid":"u-2","eventType":"group.user"}]}}'
add("okta", [JSON_TYPE, ["Authorization", SECRET]], body, ["u-1", "u-2"], ["user.session.start", "group.user"], altered=None)

body = json.dumps(
    {"value": [{"id": "n-1", "changeType": "created", "clientState": SECRET}, {"id": "n-2", "changeType": "deleted", "clientState": SECRET}]}
)
altered = body.replace(SECRET, "another client state", 1)
add("msgraph", [JSON_TYPE], body, ["n-1", "n-2"], ["created", "deleted"], answer=[202, ""], altered=altered)

# Specifications
body = '{"type":"contact.created","timestamp":"2023-11-14T22:13:20Z"}'
add("standard-webhooks", [JSON_TYPE, *standard("webhook", whsec)], body, ["msg_1"], ["contact.created"], secrets={"secret": [WHSEC]})
for prefix in ["svix", "webhook"]:
    add("svix", [JSON_TYPE, *standard(prefix, whsec)], body, ["msg_1"], ["contact.created"], secrets={"secret": [WHSEC]})
add("polar", [JSON_TYPE, *standard("webhook", WHSEC.encode())], body, ["msg_1"], ["contact.created"], secrets={"secret": [WHSEC]})

event = '{"data":1}'
add(
    "cloudevents",
    [JSON_TYPE, ["Authorization", f"Bearer {SECRET}"], ["ce-id", "1"], ["ce-source", "/s"], ["ce-type", "demo"], ["ce-specversion", "1.0"]],
    event, ["/s:1"], ["demo"], answer=[202, ""], altered=None,
)
event = '{"specversion":"1.0","id":"1","source":"/s","type":"demo"}'
add(
    "cloudevents", [["content-type", "application/cloudevents+json"]], event, ["/s:1"], ["demo"], answer=[202, ""], altered=None,
    target=f"/v1/webhooks/demo?access_token={SECRET}",
)

json.dump(recorded, sys.stdout, ensure_ascii=False)
