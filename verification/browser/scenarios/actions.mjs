// Each action, from the button to what it does.
import assert from "node:assert/strict";

import { follow, open, screenshot } from "../browser.mjs";
import { everything, order } from "../events.mjs";
import { until } from "../server.mjs";

export async function run({ browser, server, receiver }) {
  await everything(server, receiver);
  const page = await browser.page({ acceptDownloads: true });
  const flash = (expected) => page.locator("#flash").filter({ hasText: expected }).waitFor();
  const state = async (source, key) => {
    const { events } = await server.get(`events?source=${source}&key=${key}`);
    return events[0]?.state.toLowerCase();
  };

  // One failed event is requeued.
  await open(page, "/events/orders/order-1");
  await page.click("#requeue");
  await page.waitForSelector("#flash");
  await until("order-1 is processed", async () => (await state("orders", "order-1")) === "processed");

  // One that waits is made due.
  await open(page, "/events/later/order-1");
  await page.click("#make-due");
  await page.waitForSelector("#flash");
  await until("later/order-1 is processed", async () => (await state("later", "order-1")) === "processed");

  // Copies: as it is, edited, and of an event without a destination to that of another source.
  receiver.received.clear();
  await open(page, "/events/orders/order-2/replay");
  await page.click("#confirm-replay");
  await flash(/A copy was delivered to its destination/);
  assert.equal(JSON.parse(receiver.received.get("/orders")[0]).data.amount, 1252.5);
  await open(page, "/events/orders/order-2/replay");
  await page.click("#edit-body");
  await page.fill("#body", '{"edited":true}\n');
  await page.click("#confirm-replay");
  await flash(/An edited copy was delivered to its destination/);
  assert.equal(receiver.received.get("/orders")[1], '{"edited":true}\n');
  await open(page, "/events/github/push-2/replay");
  await page.selectOption("#destination", "orders");
  await page.click("#confirm-replay");
  await flash(/A copy was delivered to the destination of orders/);
  assert.equal(receiver.received.get("/orders")[2], '{"ref":"fix"}');
  receiver.answers.set("/orders", { status: 503 });
  await open(page, "/events/orders/order-2/replay");
  await page.click("#confirm-replay");
  await flash(/was not delivered.*503/);
  receiver.answers.delete("/orders");

  // The body of one is erased, in a dialog that asks for the key.
  await open(page, "/events/github/push-2");
  await page.click("#erase");
  await page.waitForSelector("#dialog[open]");
  await screenshot(page, "dialog-erase-light");
  await page.fill("#dialog input:not([type=hidden])", "push-2");
  await page.click("#dialog button[type=submit]");
  await page.waitForSelector("#flash");
  await page.waitForSelector("#body-erased");

  // A source is paused and resumed.
  await open(page, "/sources");
  await page.click("tr#source-later th a");
  await page.click("#source-pause-later");
  await page.click("#confirm-pause");
  await flash(/later is paused/);
  await open(page, "");
  await page.waitForSelector("#source-resume-later, [id$=resume-later]");
  await page.click("[id$=resume-later]");
  await flash(/later is resumed/);

  // A plan, its progress, and its end.
  await open(page, "/failed");
  await page.click("#failures tr:has-text('answered 422') button");
  await page.waitForSelector("#plan-count");
  assert.equal(await page.textContent("#plan-count"), "11 events");
  await screenshot(page, "plan-light");
  await page.click("#run");
  await page.waitForSelector("#progress-text");
  await page.waitForFunction(() => document.querySelector("#changed dd")?.textContent === "11");
  await page.waitForSelector(".badge:has-text('done')");
  await until("none answered 422", async () => !(await server.get("events?source=orders&state=failed&error=422")).events.length);

  // Some are selected: a range, and then all.
  receiver.answers.set("/orders", { status: 422 });
  await server.deliver("orders", Array.from({ length: 4 }, (_, index) => order(index + 31)));
  await server.untilEvents(4, "source=orders&state=failed&error=422");
  receiver.answers.delete("/orders");
  await open(page, "/events?q=source:orders+state:failed");
  const boxes = page.locator("[data-select]");
  await boxes.nth(0).click();
  await boxes.nth(2).click({ modifiers: ["Shift"] });
  assert.equal(await page.textContent("#selected-count"), "3");
  await page.click("#selected-requeue");
  await flash(/3 of 3 selected events were requeued/);

  // Deleting more than one asks for their number.
  await open(page, "/events?q=source:orders+state:processed");
  await page.click("#select-all");
  const selected = await page.textContent("#selected-count");
  await page.click("#selected-delete");
  await page.fill("#confirmed", "1");
  await page.click("#confirm");
  await page.fill("#confirmed", selected);
  await page.click("#confirm");
  await flash(new RegExp(`${selected} of ${selected} selected events were deleted`));

  // A job that is cancelled: its events are more than it does in the meantime.
  await server.deliver("later", Array.from({ length: 3000 }, (_, index) => order(index + 1000)));
  await open(page, "/events?q=source:later");
  await page.click("#all-matching > summary");
  await page.click("#all-delete");
  await page.fill("#confirmed", (await page.textContent("#run-form strong")).trim());
  await page.click("#run");
  await page.waitForSelector("#progress-text");
  // The job may end first.
  await page.evaluate(() => document.querySelector("#cancel-job")?.click());
  await page.waitForSelector(".badge:has-text('cancelled'), .badge:has-text('done')");

  // Exports.
  await open(page, "/events?q=source:github");
  await page.click("#all-matching > summary");
  const [download] = await Promise.all([page.waitForEvent("download"), page.click("#export")]);
  const lines = (await text(download)).trim().split("\n").map((line) => JSON.parse(line));
  assert.equal(lines.length, 2);
  await open(page, "/audit");
  const [csv] = await Promise.all([page.waitForEvent("download"), page.click("#export-csv")]);
  assert.match(await text(csv), /replay/);
  await open(page, "/audit?text=replay");
  assert.ok((await page.locator("main tbody tr").count()) >= 4);

  // The theme, the time zone, and live updates.
  await follow(page, () => page.click("#theme"));
  assert.equal(await page.getAttribute("html", "data-theme"), "light");
  await follow(page, () => page.click("#theme"));
  assert.equal(await page.getAttribute("html", "data-theme"), "dark");
  await follow(page, () => page.click("#zone"));
  await page.waitForFunction(() => /UTC\+1/.test(document.querySelector("main time[data-time=exact]")?.textContent ?? "UTC+1"));
  // A selected time stays selected when the page writes its times again.
  await page.evaluate(() => {
    window.getSelection().selectAllChildren(document.querySelector("main time[data-time=exact]"));
    const time = Object.assign(document.createElement("time"), { dateTime: new Date().toISOString(), id: "written" });
    time.dataset.time = "ago";
    document.body.append(time);
  });
  await page.waitForFunction(() => document.querySelector("#written").textContent);
  assert.match(await page.evaluate(() => String(window.getSelection())), /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC\+[12]$/);
  await open(page, "");
  await page.waitForSelector("#live[data-state=live]");
  await page.click("#live");
  await page.waitForSelector("#live[data-state=paused][aria-pressed=true]");
  await page.click("#live");
  await page.waitForSelector("#live[data-state=live][aria-pressed=false]");
  browser.check();
}

async function text(download) {
  const chunks = [];
  for await (const chunk of await download.createReadStream()) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}
