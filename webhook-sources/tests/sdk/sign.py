"""Prints what the senders' SDKs for Python sign and accept, as a JSON array.

Each entry is a request that an SDK made, or that this program signed and an SDK accepted. Each SDK was asked about
an altered request too, and refused it. scripts/record-sdk-signatures runs this.
"""

import base64
import hashlib
import hmac
import json
import sys
from importlib.metadata import version
from types import SimpleNamespace
from urllib.parse import parse_qsl, urlencode

from freezegun import freeze_time

NOW = 1700000000
JSON_BODY = '{"id":"evt_1","type":"demo","event_id":"evt_1","n":1.50,"text":"Grüße"}'
JSON_TYPE = ["content-type", "application/json"]
URL = "https://example.com/v1/webhooks/demo"
TEXT_SECRET = "shh-this-is-a-secret"
recorded = []


def record(preset, package, accepts, headers, body, altered, *, by, secrets=None, url=None, target="/v1/webhooks/demo"):
    """Adds a request if the SDK accepts it and refuses the altered body."""

    def verdict(some_body):
        try:
            return accepts(some_body) not in (False, None)
        except Exception as error:  # Each SDK has its own.
            if some_body == body:
                print(f"{preset}: {error!r}", file=sys.stderr)
            return False

    assert verdict(body), f"{package} does not accept its request for {preset}"
    assert not verdict(altered), f"{package} accepts an altered request for {preset}"
    recorded.append(
        {
            "preset": preset,
            "sdk": f"{package} {version(package)} (PyPI)",
            "signed_by": by,
            "now": NOW,
            "secrets": secrets or {"secret": [TEXT_SECRET]},
            "public_url": url,
            "method": "POST",
            "target": target,
            "headers": headers,
            "body": body,
            "altered_body": altered,
        }
    )


def mac(key, message, digest=hashlib.sha256):
    return hmac.new(key if isinstance(key, bytes) else key.encode(), message.encode(), digest)


def changed(body):
    return body.replace("demo", "dEmo")


def stripe_():
    import stripe

    signature = f"t={NOW},v1=" + stripe.WebhookSignature._compute_signature(f"{NOW}.{JSON_BODY}", TEXT_SECRET)
    record(
        "stripe", "stripe",
        lambda body: stripe.WebhookSignature.verify_header(body, signature, TEXT_SECRET, tolerance=300),
        [JSON_TYPE, ["Stripe-Signature", signature]], JSON_BODY, changed(JSON_BODY), by="sdk",
    )


def razorpay_():
    import razorpay

    utility = razorpay.Client(auth=("key", "secret")).utility
    signature = mac(TEXT_SECRET, JSON_BODY).hexdigest()
    record(
        "razorpay", "razorpay",
        lambda body: utility.verify_webhook_signature(body, signature, TEXT_SECRET),
        [JSON_TYPE, ["X-Razorpay-Signature", signature], ["x-razorpay-event-id", "evt_rzp_1"]],
        JSON_BODY, changed(JSON_BODY), by="recorder",
    )


def standard_webhooks():
    from datetime import datetime, timezone

    import standardwebhooks
    import svix

    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    at = datetime.fromtimestamp(NOW, tz=timezone.utc)
    for preset, package, webhook, prefix in [
        ("standard-webhooks", "standardwebhooks", standardwebhooks.Webhook(secret), "webhook"),
        ("svix", "svix", svix.Webhook(secret), "svix"),
    ]:
        signature = webhook.sign("msg_1", at, JSON_BODY)
        headers = {f"{prefix}-id": "msg_1", f"{prefix}-timestamp": str(NOW), f"{prefix}-signature": signature}

        def accepts(body, webhook=webhook, headers=headers):
            webhook.verify(body, headers)
            return True

        record(
            preset, package, accepts, [JSON_TYPE, *map(list, headers.items())], JSON_BODY, changed(JSON_BODY),
            by="sdk", secrets={"secret": [secret]},
        )


def slack():
    from slack_sdk.signature import SignatureVerifier

    verifier = SignatureVerifier(TEXT_SECRET)
    for body, kind in [
        ('{"type":"event_callback","event_id":"Ev1","event":{"type":"demo"}}', "application/json"),
        ("token=x&command=%2Fdemo&trigger_id=1.2&text=Gr%C3%BC%C3%9Fe", "application/x-www-form-urlencoded"),
    ]:
        headers = {
            "X-Slack-Request-Timestamp": str(NOW),
            "X-Slack-Signature": verifier.generate_signature(timestamp=str(NOW), body=body),
        }
        record(
            "slack", "slack-sdk", lambda it, headers=headers: verifier.is_valid_request(it, headers),
            [["content-type", kind], *map(list, headers.items())], body, changed(body), by="sdk",
        )


def twilio_():
    from twilio.request_validator import RequestValidator

    validator = RequestValidator(TEXT_SECRET)
    fields = {"MessageSid": "SM1", "SmsStatus": "demo", "Body": "Grüße & more", "To": "+18005551212"}
    form = urlencode(fields)
    signature = validator.compute_signature(URL, fields)
    record(
        "twilio", "twilio", lambda body: validator.validate(URL, dict(parse_qsl(body)), signature),
        [["content-type", "application/x-www-form-urlencoded"], ["X-Twilio-Signature", signature],
         ["I-Twilio-Idempotency-Token", "token-1"]],
        form, changed(form), by="sdk", url=URL,
    )
    target = "/v1/webhooks/demo?bodySHA256=" + hashlib.sha256(JSON_BODY.encode()).hexdigest()
    url = "https://example.com" + target
    json_signature = validator.compute_signature(url, {})
    record(
        "twilio", "twilio", lambda body: validator.validate(url, body, json_signature),
        [JSON_TYPE, ["X-Twilio-Signature", json_signature]], JSON_BODY, changed(JSON_BODY), by="sdk", url=URL,
        target=target,
    )


def square():
    from square.utils.webhooks_helper import verify_signature

    signature = base64.b64encode(mac(TEXT_SECRET, URL + JSON_BODY).digest()).decode()
    record(
        "square", "squareup",
        lambda body: verify_signature(
            request_body=body, signature_header=signature, signature_key=TEXT_SECRET, notification_url=URL
        ),
        [JSON_TYPE, ["x-square-hmacsha256-signature", signature]], JSON_BODY, changed(JSON_BODY), by="recorder", url=URL,
    )


def braintree_():
    import braintree

    gateway = braintree.BraintreeGateway(
        braintree.Configuration(braintree.Environment.Development, "merchant", "public", private_key=TEXT_SECRET)
    )
    sample = gateway.webhook_testing.sample_notification(braintree.WebhookNotification.Kind.Check, "demo")
    sample["bt_payload"] = sample["bt_payload"].decode()
    body = urlencode({**sample, "bt_signature": "other_key|0123&" + sample["bt_signature"]})

    def accepts(some_body):
        fields = dict(parse_qsl(some_body))
        return gateway.webhook_notification.parse(fields["bt_signature"], fields["bt_payload"])

    record(
        "braintree", "braintree", accepts, [["content-type", "application/x-www-form-urlencoded"]],
        body, body.replace("bt_payload=C", "bt_payload=D"), by="sdk",
    )


def adyen():
    import Adyen

    key = "44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056"
    secrets = {"secret": [key]}
    item = {
        "amount": {"currency": "EUR", "value": 1130}, "pspReference": "7914073381342284", "eventCode": "AUTHORISATION",
        "eventDate": "2019-05-06T17:15:34.121+02:00", "merchantAccountCode": "TestMerchant", "operations": ["CANCEL"],
        "merchantReference": "TestPayment-demo", "paymentMethod": "visa", "success": "true",
    }
    item["additionalData"] = {"hmacSignature": Adyen.util.generate_notification_sig(item, key).decode()}
    body = json.dumps({"live": "false", "notificationItems": [{"NotificationRequestItem": item}]})
    record(
        "adyen", "Adyen", lambda it: Adyen.util.is_valid_hmac_notification(json.loads(it), key),
        [JSON_TYPE], body, changed(body), by="sdk", secrets=secrets,
    )
    signature = Adyen.util.generate_payload_sig(JSON_BODY.encode(), key).decode()
    record(
        "adyen-platform", "Adyen", lambda it: Adyen.util.is_valid_hmac_payload(signature, key, it.encode()),
        [JSON_TYPE, ["HmacSignature", signature]], JSON_BODY, changed(JSON_BODY), by="sdk", secrets=secrets,
    )


def coinbase():
    from coinbase_commerce.webhook import Webhook

    body = '{"id":1,"scheduled_for":"2023-11-14T22:13:20Z","attempt_number":1,"event":{"id":"evt_1","type":"demo"}}'
    signature = mac(TEXT_SECRET, body).hexdigest()
    record(
        "coinbase-commerce", "coinbase-commerce", lambda it: Webhook.construct_event(it, signature, TEXT_SECRET),
        [JSON_TYPE, ["X-CC-Webhook-Signature", signature]], body, changed(body), by="recorder",
    )


def gocardless():
    import gocardless_pro.webhooks

    body = (
        '{"events":[{"id":"EV1","action":"demo","resource_type":"payments"},'
        '{"id":"EV2","action":"failed","resource_type":"mandates"}],"meta":{"webhook_id":"WB1"}}'
    )
    signature = mac(TEXT_SECRET, body).hexdigest()
    record(
        "gocardless", "gocardless-pro", lambda it: gocardless_pro.webhooks.parse(it, TEXT_SECRET, signature),
        [JSON_TYPE, ["Webhook-Signature", signature]], body, changed(body), by="recorder",
    )


def hubspot():
    from hubspot.utils.signature import Signature

    body = '[{"eventId":1,"subscriptionId":2,"portalId":3,"occurredAt":4,"subscriptionType":"demo","attemptNumber":0}]'
    at = str(NOW * 1000)
    signature = Signature.get_signature(TEXT_SECRET, body, "v3", URL, "POST", at)
    record(
        "hubspot", "hubspot-api-client",
        lambda it: Signature.is_valid(signature, TEXT_SECRET, it, URL, "POST", "v3", at),
        [JSON_TYPE, ["X-HubSpot-Signature-v3", signature], ["X-HubSpot-Request-Timestamp", at]],
        body, changed(body), by="sdk", url=URL,
    )


def mailgun_():
    from mailgun.security import SecurityGuard

    token = "5egbgr1vjgqxtrnp65xfznchgdccwh5d6i09vijqi3whgowmn6"
    signature = mac(TEXT_SECRET, f"{NOW}{token}").hexdigest()
    body = json.dumps(
        {
            "signature": {"timestamp": str(NOW), "token": token, "signature": signature},
            "event-data": {"id": "evt_1", "event": "demo"},
        }
    )

    def accepts(some_body):
        parts = json.loads(some_body)["signature"]
        return SecurityGuard.verify_webhook(TEXT_SECRET, parts["token"], parts["timestamp"], parts["signature"])

    record("mailgun", "mailgun", accepts, [JSON_TYPE], body, body.replace("5egb", "5egc"), by="recorder")


def mollie():
    from mollie.utils.webhooks.signature_validator import SignatureValidator

    body = '{"resource":"event","id":"event_1","type":"demo"}'
    signature = "sha256=" + SignatureValidator.create_signature(body, TEXT_SECRET)
    record(
        "mollie", "mollie-api-py", lambda it: SignatureValidator.validate(it, [TEXT_SECRET], ["0" * 64, signature]),
        [JSON_TYPE, ["X-Mollie-Signature", "0" * 64], ["X-Mollie-Signature", signature]], body, changed(body), by="sdk",
    )


def paddle():
    from paddle_billing.Notifications import PaddleSignature, Secret, Verifier

    body = '{"event_id":"evt_1","event_type":"demo","notification_id":"ntf_1"}'
    digest = PaddleSignature.calculate_hmac(TEXT_SECRET, f"{NOW}:{body}".encode()).hexdigest()
    signature = f"ts={NOW};h1={digest}"
    record(
        "paddle", "paddle-python-sdk",
        lambda it: Verifier(5).verify(
            SimpleNamespace(headers={"Paddle-Signature": signature}, body=it.encode()), Secret(TEXT_SECRET)
        ),
        [JSON_TYPE, ["Paddle-Signature", signature]], body, changed(body), by="sdk",
    )


def sendgrid_():
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from sendgrid.helpers.eventwebhook import EventWebhook

    private = ec.derive_private_key(123456789, ec.SECP256R1())
    public = base64.b64encode(
        private.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    ).decode()
    body = '[{"sg_event_id":"sg_1","event":"demo"},{"sg_event_id":"sg_2","event":"open"}]\r\n'
    algorithm = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
    signature = base64.b64encode(private.sign((str(NOW) + body).encode(), algorithm)).decode()
    record(
        "sendgrid", "sendgrid", lambda it: EventWebhook(public).verify_signature(it, signature, str(NOW)),
        [JSON_TYPE, ["X-Twilio-Email-Event-Webhook-Signature", signature],
         ["X-Twilio-Email-Event-Webhook-Timestamp", str(NOW)]],
        body, changed(body), by="recorder", secrets={"public_key": [public]},
    )


with freeze_time("2023-11-14T22:13:20Z"):
    for sender in [
        stripe_, razorpay_, standard_webhooks, slack, twilio_, braintree_, adyen, coinbase, gocardless, hubspot,
        mailgun_, paddle, sendgrid_,
    ]:
        sender()
# These check no time, and pydantic, which they import, does not work with a frozen clock.
square()
mollie()
json.dump(recorded, sys.stdout, ensure_ascii=False)
