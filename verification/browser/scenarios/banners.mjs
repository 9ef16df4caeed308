// Warnings come and go on pages whose content is not loaded again, and nothing is lost that somebody has typed or
// selected there. The overview says what is wrong.
import assert from "node:assert/strict";

import { open, screenshot } from "../browser.mjs";
import { order } from "../events.mjs";
import { until } from "../server.mjs";

export async function run({ browser, server, receiver }) {
  await server.deliver("later", [order(0)]);
  const opened = async (path) => {
    const page = await browser.page();
    await open(page, path);
    return page;
  };
  const filter = await opened("/events");
  await filter.fill("#filter", "state:fai");
  const selection = await opened("/events");
  await selection.check("[data-select]");
  const audit = await opened("/audit");
  await audit.fill("#text", "ana");
  const settings = await opened("/settings");
  await settings.check("main input[name=theme][value=dark]");
  const overview = await opened("");
  // Its content needs a store that does not answer.
  const failing = await opened("/failed");
  browser.expected = /503 \(Service Unavailable\)/;
  await failing.route("**/dashboard/failed", (route) => route.fulfill({ status: 503 }));
  const pages = [filter, selection, audit, settings, overview, failing];
  const check = async () => {
    assert.equal(await filter.inputValue("#filter"), "state:fai");
    assert.equal(await filter.evaluate(() => document.activeElement.id), "filter");
    assert.ok(await selection.isChecked("[data-select]"));
    assert.equal(await selection.textContent("#selected-count"), "1");
    assert.equal(await audit.inputValue("#text"), "ana");
    assert.ok(await settings.isChecked("main input[name=theme][value=dark]"));
  };

  receiver.answers.set("/orders", { status: 410 });
  await server.deliver("orders", [order(1)]);
  for (const page of pages) await page.waitForSelector("#banners :text('answered 410')");
  await overview.waitForSelector("#verdict .bad:has-text('paused since the destination answered 410: orders')");
  await check();
  await failing.waitForSelector("#live[data-state=lost]");
  await failing.unroute("**/dashboard/failed");
  await failing.waitForSelector("#live[data-state=live]");
  await screenshot(overview, "banners-overview");
  await screenshot(selection, "banners-events");

  receiver.answers.delete("/orders");
  const answer = await fetch(`${server.url}/v1/operator/sources/orders/resume`, { method: "POST" });
  assert.equal(answer.status, 200);
  await until("the event is processed", async () => (await server.get("events?source=orders&state=processed")).events.length === 1);
  for (const page of pages) {
    await page.waitForFunction(() => !document.querySelector("#banners").textContent.includes("410"));
  }
  await check();
  browser.check();
}
