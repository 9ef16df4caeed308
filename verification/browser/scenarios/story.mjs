// Somebody who has never seen it: why did an event fail? The app behind the source is mended, and all its events are
// requeued. Each click is counted, and nothing is opened but what a page shows.
//
// STORY_EVENTS=5000 makes it a story of 5,000 events. A destination that fails gets one request at a time, so that
// they take a minute to fail on a busy machine; PATIENCE_MS must be more than that.
import assert from "node:assert/strict";

import { follow, open, screenshot } from "../browser.mjs";
import { order } from "../events.mjs";
import { until } from "../server.mjs";

const EVENTS = Number(process.env.STORY_EVENTS ?? 500);
/** From the Overview to the reason: the group, or its latest event. */
const MOST_CLICKS_TO_THE_REASON = 2;
/** From there to the requeued events: the group, its plan, its confirmation. */
const MOST_CLICKS_TO_REQUEUE = 3;

export async function run({ browser, server, receiver }) {
  receiver.answers.set("/orders", {
    status: 422, headers: { "content-type": "application/json" },
    body: '{"error":"currency EUR is not enabled for this account"}',
  });
  for (let from = 0; from < EVENTS; from += 500) {
    await server.deliver("orders", Array.from({ length: 500 }, (_, index) => order(from + index)));
  }
  await server.deliverAsGithub("github", "push-1", '{"ref":"main"}');
  const failed = async () => {
    const { sources } = await server.get("overview");
    return sources.find((it) => it.info?.name === "orders" || it.name === "orders")?.sample?.failed?.count ?? 0;
  };
  await until("all have failed", async () => (await failed()) >= EVENTS);

  const page = await browser.page();
  let clicks = 0;
  const click = async (selector) => {
    clicks += 1;
    await follow(page, () => page.click(selector));
  };

  // The Overview says what fails.
  await open(page, "");
  await screenshot(page, "story-1");
  assert.match(await page.textContent("#verdict"), /failing: orders/);

  // Why: the newest failure, and what the app has answered.
  await click("#failures tbody a");
  await screenshot(page, "story-2");
  assert.match(await page.textContent("#event-error"), /answered 422/);
  if (!(await page.textContent("main")).includes("currency EUR is not enabled")) await click("#tab-attempts");
  assert.ok((await page.textContent("main")).includes("currency EUR is not enabled"));
  await screenshot(page, "story-3");
  assert.ok(clicks <= MOST_CLICKS_TO_THE_REASON, `${clicks} clicks to the reason`);
  const toReason = clicks;

  // Somebody mends the app.
  receiver.answers.delete("/orders");

  // All of the group.
  await click("nav#menu a[data-press='g f']");
  await screenshot(page, "story-4");
  await click("#failures tbody button");
  await screenshot(page, "story-5");
  assert.equal(await page.textContent("#plan-count"), `${EVENTS.toLocaleString("en")} events`);
  await page.fill("#confirmed", String(EVENTS));
  await click("#run");
  await page.waitForSelector("#progress-text");
  await screenshot(page, "story-6");
  assert.ok(clicks - toReason <= MOST_CLICKS_TO_REQUEUE, `${clicks - toReason} clicks to requeue`);
  await page.waitForSelector(".badge:has-text('done')");
  assert.equal(await page.textContent("#changed dd"), EVENTS.toLocaleString("en"));
  await until("none is failed", async () => (await server.get("events?source=orders&state=failed")).events.length === 0);
  await open(page, "");
  await screenshot(page, "story-7");
  console.log(`story: ${toReason} clicks to the reason, ${clicks - toReason} to requeue ${EVENTS} events`);
  browser.check();
}
