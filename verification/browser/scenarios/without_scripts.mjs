// Every screen and action by links and forms, in a browser without scripts.
import assert from "node:assert/strict";

import { WITHOUT_SCRIPTS, follow, open, screenshot } from "../browser.mjs";
import { everything } from "../events.mjs";
import { until } from "../server.mjs";

export async function run({ browser, server, receiver }) {
  await everything(server, receiver);
  const page = await browser.page(WITHOUT_SCRIPTS);
  const flash = (expected) => page.locator("#flash").filter({ hasText: expected }).waitFor();

  // Each screen by the links of the navigation.
  await open(page, "");
  for (const name of ["Events", "Failed", "Refused", "Sources", "Destinations", "Workers", "Jobs", "Audit", "API", "Overview"]) {
    await follow(page, () => page.click(`nav#menu a:has-text("${name}")`));
    assert.equal(await page.textContent("main h1"), name);
  }
  await page.fill("#search", "source:orders state:failed");
  await follow(page, () => page.press("#search", "Enter"));
  assert.equal(await page.locator("#events tbody tr").count(), 14);
  await screenshot(page, "without-scripts-events");

  // Actions on one event.
  await page.click("a.key:has-text('order-14')");
  for (const tab of ["request", "attempts", "conflicts", "copy", "record", "body"]) await follow(page, () => page.click(`#tab-${tab}`));
  await page.click("#requeue");
  await flash(/requeued/);
  await page.click("#replay");
  await page.click("#confirm-replay");
  await flash(/A copy was delivered/);
  await open(page, "/events/later/order-1");
  await page.click("#make-due");
  await page.waitForSelector("#flash");
  await open(page, "/events/github/push-2");
  await page.click("#erase");
  await page.fill("main input:not([type=hidden])", "push-2");
  await page.click("main button[type=submit]");
  await page.waitForSelector("#body-erased");

  // On selected events, and on all that match. What only scripts can do is not there.
  await open(page, "/events?q=source:orders+state:failed");
  assert.equal(await page.locator(".scripted").count(), 2);
  assert.equal(await page.locator(".scripted:visible").count(), 0);
  await page.check("#events tbody tr:nth-child(1) input");
  await page.check("#events tbody tr:nth-child(2) input");
  await page.click("#selected-requeue");
  await flash(/2 of 2 selected events were requeued/);
  await page.click("nav#menu a:has-text('Failed')");
  await page.click("#failures tbody button");
  await page.click("#run");
  await page.waitForSelector("#progress-text");
  await until("the job is done", async () => {
    await page.reload();
    return (await page.locator(".badge:has-text('done')").count()) > 0;
  });

  // On a source, and back to the page that had the link.
  await open(page, "/sources/github");
  await page.click("#source-pause-github");
  await page.click("#confirm-pause");
  await flash(/github is paused/);
  await page.click("[id$=resume-github]");
  await flash(/github is resumed/);
  await page.click("#test-github");
  await flash(/github has (stored|taken) the test event/);
  await open(page, "");
  await page.click("[id$=pause-github]");
  await page.click("#confirm-pause");
  await flash(/github is paused/);
  assert.equal(await page.textContent("main h1"), "Overview");
  await page.click("[id$=resume-github]");
  await flash(/github is resumed/);

  // Settings.
  await follow(page, () => page.click("#theme"));
  assert.equal(await page.getAttribute("html", "data-theme"), "light");
  await page.click("#settings");
  await page.check("input[name=theme][value=dark]");
  await follow(page, () => page.click("#save"));
  assert.equal(await page.getAttribute("html", "data-theme"), "dark");
  browser.check();
}
