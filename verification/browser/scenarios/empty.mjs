// Every screen of a server that has received nothing: what to do first, and that nothing is wrong.
import assert from "node:assert/strict";

import { checkAccessibility, open, screenshot } from "../browser.mjs";
import { until } from "../server.mjs";

export async function run({ browser, server }) {
  const page = await browser.page();
  const screens = [
    ["overview", "", "Nothing received yet"],
    ["events", "/events", "Nothing received yet"],
    ["failed", "/failed", "No event is FAILED"],
    ["refused", "/refused", "Nothing was refused"],
    ["sources", "/sources", "nothing yet"],
    ["destinations", "/destinations", "none yet"],
    ["jobs", "/jobs", "No job has been planned"],
    ["audit", "/audit", "No"],
  ];
  const wrong = [];
  for (const [name, path, text] of screens) {
    try {
      await open(page, path);
      assert.ok((await page.locator("main").textContent()).includes(text), `does not show ${text}`);
      await screenshot(page, `empty-${name}`);
      await checkAccessibility(page, `empty ${name}`);
    } catch (error) {
      wrong.push(`${name}: ${error.message}`);
    }
  }
  assert.deepEqual(wrong, []);
  await open(page, "");
  await page.click("#test-github");
  await page.waitForSelector("#flash");
  assert.match(await page.textContent("#flash"), /github has (stored|taken) the test event/);
  await until("the test event is there", async () => (await server.get("events?source=github")).events.length === 1);
  browser.check();
}
