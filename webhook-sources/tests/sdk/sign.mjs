// Prints what the senders' SDKs for Node.js sign and accept, as a JSON array: see sign.py.
import { createHmac, createHash, createPrivateKey, sign as signWithKey } from "node:crypto";
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import "@shopify/shopify-api/adapters/node";

import { sign as octokitSign, verify as octokitVerify } from "@octokit/webhooks-methods";
import { LinearWebhookClient } from "@linear/sdk/webhooks";
import { WebhookVerificationError, validateEvent } from "@polar-sh/sdk/webhooks";
import { encodeSignatureHeader, isValidSignature } from "@sanity/webhook";
import { shopifyApi, ApiVersion } from "@shopify/shopify-api";
import { AwsLambdaReceiver } from "@zoom/rivet/users";
import { verifyKey } from "discord-interactions";
import { Webhook as StandardWebhook } from "standardwebhooks";
import Stripe from "stripe";
import { Webhook as SvixWebhook } from "svix";

const require = createRequire(import.meta.url);
const { Cashfree, CFEnvironment } = require("cashfree-pg");
const phonepe = require("pg-sdk-node");
const Razorpay = require("razorpay");
const { validateSignature } = require("twitter-autohook");
const { WebflowClient } = require("webflow-api");

const NOW = 1700000000;
const RealDate = Date;
globalThis.Date = class extends RealDate {
  constructor(...given) {
    super(...(given.length ? given : [NOW * 1000]));
  }
  static now() {
    return NOW * 1000;
  }
};

const JSON_BODY = '{"id":"evt_1","type":"demo","event_id":"evt_1","n":1.50,"text":"Grüße"}';
const JSON_TYPE = ["content-type", "application/json"];
const SECRET = "shh-this-is-a-secret";
const recorded = [];

const mac = (hash, message, encoding, key = SECRET) => createHmac(hash, key).update(message).digest(encoding);
const changed = (body) => body.replaceAll("demo", "dEmo");

function versionOf(name) {
  return JSON.parse(readFileSync(`node_modules/${name}/package.json`, "utf8")).version;
}

async function record(preset, name, accepts, headers, body, altered, more) {
  const verdict = async (someBody) => {
    try {
      return (await accepts(someBody)) !== false;
    } catch (error) {
      if (someBody === body) console.error(`${preset}: ${error}`);
      return false;
    }
  };
  if (!(await verdict(body))) throw new Error(`${name} does not accept its request for ${preset}`);
  if (altered !== null && (await verdict(altered))) throw new Error(`${name} accepts an altered request for ${preset}`);
  recorded.push({
    preset,
    sdk: `${name} ${versionOf(name)} (npm)`,
    signed_by: more.by,
    now: NOW,
    secrets: more.secrets ?? { secret: [SECRET] },
    public_url: null,
    method: "POST",
    target: "/v1/webhooks/demo",
    headers,
    body,
    altered_body: altered,
    ...(more.answer && { ids: more.ids, event_types: more.event_types, answer: more.answer }),
  });
}

{
  const header = Stripe.webhooks.generateTestHeaderString({ payload: JSON_BODY, secret: SECRET, timestamp: NOW });
  const accepts = (body) => Stripe.webhooks.constructEvent(body, header, SECRET, 300);
  const headers = [JSON_TYPE, ["Stripe-Signature", header]];
  await record("stripe", "stripe", accepts, headers, JSON_BODY, changed(JSON_BODY), { by: "sdk" });
}
{
  const header = await octokitSign(SECRET, JSON_BODY);
  const accepts = (body) => octokitVerify(SECRET, body, header);
  const headers = [
    JSON_TYPE,
    ["X-GitHub-Event", "push"],
    ["X-GitHub-Delivery", "72d3162e-cc78-11e3-81ab-4c9367dc0958"],
    ["X-Hub-Signature-256", header],
  ];
  const by = { by: "sdk" };
  await record("github", "@octokit/webhooks-methods", accepts, headers, JSON_BODY, changed(JSON_BODY), by);
}
{
  const header = mac("sha256", JSON_BODY, "hex");
  const accepts = (body) => Razorpay.validateWebhookSignature(body, header, SECRET);
  const headers = [JSON_TYPE, ["X-Razorpay-Signature", header], ["X-Razorpay-Event-Id", "evt_rzp_2"]];
  await record("razorpay", "razorpay", accepts, headers, JSON_BODY, changed(JSON_BODY), { by: "recorder" });
}
for (const [preset, name, Webhook, prefix] of [
  ["standard-webhooks", "standardwebhooks", StandardWebhook, "webhook"],
  ["svix", "svix", SvixWebhook, "svix"],
]) {
  const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
  const webhook = new Webhook(secret);
  const headers = {
    [`${prefix}-id`]: "msg_2",
    [`${prefix}-timestamp`]: String(NOW),
    [`${prefix}-signature`]: `v1,AAAA ${webhook.sign("msg_2", new Date(), JSON_BODY)}`,
  };
  const accepts = (body) => webhook.verify(body, headers);
  const more = { by: "sdk", secrets: { secret: [secret] } };
  const sent = [JSON_TYPE, ...Object.entries(headers)];
  await record(preset, name, accepts, sent, JSON_BODY, changed(JSON_BODY), more);
}
{
  const secret = "polar_whs_" + SECRET;
  const webhook = new StandardWebhook(Buffer.from(secret).toString("base64"));
  const headers = {
    "webhook-id": "msg_3",
    "webhook-timestamp": String(NOW),
    "webhook-signature": webhook.sign("msg_3", new Date(), JSON_BODY),
  };
  const accepts = (body) => {
    try {
      validateEvent(body, headers, secret);
    } catch (error) {
      // The SDK knows no event of the type "demo", which it finds out after it has verified the signature.
      return !(error instanceof WebhookVerificationError);
    }
  };
  const more = { by: "recorder", secrets: { secret: [secret] } };
  const sent = [JSON_TYPE, ...Object.entries(headers)];
  await record("polar", "@polar-sh/sdk", accepts, sent, JSON_BODY, changed(JSON_BODY), more);
}
{
  const header = await encodeSignatureHeader(JSON_BODY, NOW * 1000, SECRET);
  const accepts = (body) => isValidSignature(body, header, SECRET);
  const headers = [JSON_TYPE, ["sanity-webhook-signature", header], ["idempotency-key", "key-1"]];
  await record("sanity", "@sanity/webhook", accepts, headers, JSON_BODY, changed(JSON_BODY), { by: "sdk" });
}
{
  const body = `{"action":"create","type":"demo","webhookTimestamp":${NOW * 1000}}`;
  const header = mac("sha256", body, "hex");
  const client = new LinearWebhookClient(SECRET);
  const accepts = (it) => client.verify(Buffer.from(it), header, NOW * 1000);
  const headers = [JSON_TYPE, ["Linear-Signature", header], ["Linear-Delivery", "delivery-1"], ["Linear-Event", "demo"]];
  await record("linear", "@linear/sdk", accepts, headers, body, changed(body), { by: "recorder" });
}
{
  const shopify = shopifyApi({
    apiKey: "key",
    apiSecretKey: SECRET,
    apiVersion: Object.values(ApiVersion).at(-1),
    hostName: "example.com",
    isEmbeddedApp: false,
    logger: { level: 0 },
  });
  const headers = {
    "x-shopify-topic": "orders/create",
    "x-shopify-hmac-sha256": mac("sha256", JSON_BODY, "base64"),
    "x-shopify-shop-domain": "shop.myshopify.com",
    "x-shopify-api-version": "2025-10",
    "x-shopify-webhook-id": "hook-1",
  };
  const rawRequest = { headers, method: "POST", url: "/v1/webhooks/demo" };
  const accepts = async (rawBody) =>
    (await shopify.webhooks.validate({ rawBody, rawRequest, rawResponse: {} })).valid;
  const sent = [JSON_TYPE, ...Object.entries(headers)];
  await record("shopify", "@shopify/shopify-api", accepts, sent, JSON_BODY, changed(JSON_BODY), { by: "recorder" });
}
{
  const timestamp = String(NOW * 1000);
  const header = mac("sha256", timestamp + JSON_BODY, "base64");
  const cashfree = new Cashfree(CFEnvironment.SANDBOX, "client", SECRET);
  const accepts = (body) => cashfree.PGVerifyWebhookSignature(header, body, timestamp);
  const headers = [
    JSON_TYPE,
    ["x-webhook-signature", header],
    ["x-webhook-timestamp", timestamp],
    ["x-idempotency-key", "key-1"],
  ];
  await record("cashfree", "cashfree-pg", accepts, headers, JSON_BODY, changed(JSON_BODY), { by: "recorder" });
}
{
  // The seed of RFC 8032, section 7.1, test 1.
  const seed = Buffer.from("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60", "hex");
  const pkcs8 = Buffer.concat([Buffer.from("302e020100300506032b657004220420", "hex"), seed]);
  const key = createPrivateKey({ key: pkcs8, format: "der", type: "pkcs8" });
  const publicKey = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
  const secrets = { public_key: [publicKey] };
  const event = '{"version":1,"application_id":"1","type":1,"event":{"type":"demo"}}';
  // The check of the address, which wants 204 and a content type.
  const ping = '{"version":1,"application_id":"1","type":0}';
  for (const [body, more] of [
    [event, { event_types: ["demo"], answer: [204, ""] }],
    [ping, { ids: [], event_types: [], answer: [204, ""] }],
  ]) {
    const header = signWithKey(null, Buffer.from(NOW + body), key).toString("hex");
    const accepts = (it) => verifyKey(it, header, String(NOW), publicKey);
    const headers = [JSON_TYPE, ["X-Signature-Ed25519", header], ["X-Signature-Timestamp", String(NOW)]];
    const altered = body.replace("version", "Version");
    await record("discord", "discord-interactions", accepts, headers, body, altered, { by: "recorder", secrets, ...more });
  }
}
{
  const body = '{"event":"checkout.order.completed","payload":{"orderId":"OMO1","state":"COMPLETED"}}';
  const header = createHash("sha256").update(`merchant:${SECRET}`).digest("hex");
  const client = phonepe.StandardCheckoutClient.getInstance("id", "secret", 1, phonepe.Env.SANDBOX);
  const accepts = (it) => {
    try {
      client.validateCallback("merchant", SECRET, header, it);
    } catch (error) {
      // The SDK reads the event after it has verified the header, which fails with some versions of what it uses.
      return !(error instanceof phonepe.PhonePeException);
    }
  };
  const more = { by: "recorder", secrets: { secret: [`merchant:${SECRET}`] } };
  // Nothing of the body is signed.
  await record("phonepe", "pg-sdk-node", accepts, [JSON_TYPE, ["Authorization", header]], body, null, more);
}
{
  const body = '{"triggerType":"demo","payload":{"id":"1"}}';
  const timestamp = String(NOW * 1000);
  const headers = {
    "x-webflow-timestamp": timestamp,
    "x-webflow-signature": mac("sha256", `${timestamp}:${body}`, "hex"),
  };
  const client = new WebflowClient({ accessToken: "token" });
  const accepts = (it) => client.webhooks.verifySignature({ headers, body: it, secret: SECRET });
  const sent = [JSON_TYPE, ...Object.entries(headers)];
  await record("webflow", "webflow-api", accepts, sent, body, changed(body), { by: "recorder" });
}
{
  const headers = { "x-twitter-webhooks-signature": "sha256=" + mac("sha256", JSON_BODY, "base64") };
  const accepts = (it) => validateSignature(headers, { consumer_secret: SECRET }, it);
  const sent = [JSON_TYPE, ...Object.entries(headers)];
  await record("x", "twitter-autohook", accepts, sent, JSON_BODY, changed(JSON_BODY), { by: "recorder" });
}
{
  // The SDK writes what it receives to the standard output.
  console.debug = () => {};
  const receive = new AwsLambdaReceiver({ webhooksSecretToken: SECRET }).start();
  const event = '{"event":"demo","payload":{"account_id":"1"},"event_ts":1700000000000}';
  const check = '{"event":"endpoint.url_validation","payload":{"plainToken":"qgg8vlvZRS6UYooatFL8Aw"},"event_ts":1}';
  for (const body of [event, check]) {
    const headers = {
      "x-zm-request-timestamp": String(NOW),
      "x-zm-signature": "v0=" + mac("sha256", `v0:${NOW}:${body}`, "hex"),
    };
    const answer = async (it) => receive({ headers, body: it, isBase64Encoded: false });
    const accepts = async (it) => (await answer(it)).statusCode === 200;
    const sent = [JSON_TYPE, ...Object.entries(headers)];
    const more = { by: "recorder" };
    if (body === check) {
      Object.assign(more, { ids: [], event_types: [], answer: [200, (await answer(body)).body] });
    }
    await record("zoom", "@zoom/rivet", accepts, sent, body, body.replace("event_ts", "event_tS"), more);
  }
}
// Some SDKs keep connections or timers.
process.stdout.write(JSON.stringify(recorded), () => process.exit(0));
