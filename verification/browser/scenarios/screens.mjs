// Every screen, with events in every state: its title, its heading, its content, in light, dark and narrow.
import assert from "node:assert/strict";

import { look, open } from "../browser.mjs";
import { everything } from "../events.mjs";

export async function run({ browser, server, receiver }) {
  await everything(server, receiver);
  const page = await browser.page();
  const key = "order-7";
  const event = `/events/orders/${key}`;
  const screens = [
    ["overview", "", "Overview", "github"],
    ["events", "/events", "Events", "order-1"],
    ["event-body", event, key, "Requeue"],
    ["event-request", `${event}?tab=request`, key, "Headers"],
    ["event-attempts", `${event}?tab=attempts`, key, "answered 422"],
    ["event-conflicts", "/events/github/push-1?tab=conflicts", "push-1", "main"],
    ["event-copy", "/events/github/push-1?tab=copy", "push-1", "curl"],
    ["event-record", `${event}?tab=record`, key, key],
    ["event-raw", `${event}?view=raw`, key, "amount"],
    ["event-hex", `${event}?view=hex`, key, "7b"],
    ["replay", `${event}/replay`, `Replay ${key}`, "Send a copy"],
    ["replay-edited", `${event}/replay?edit=true`, `Replay ${key}`, "Send the edited copy"],
    ["erase", `${event}/erase`, null, key],
    ["failed", "/failed", "Failed", "answered 422"],
    ["refused", "/refused", "Refused", "What to do"],
    ["sources", "/sources", "Sources", "github"],
    ["source", "/sources/github", "github", "Verified by"],
    ["pause", "/sources/github/pause", "Pause github?", "still accepted"],
    ["destinations", "/destinations", "Destinations", "orders"],
    ["destination", "/destinations/orders", "Destination of orders", "Last answers"],
    ["workers", "/workers", "Workers", "all"],
    ["jobs", "/jobs", "Jobs", null],
    ["audit", "/audit", "Audit", null],
    ["api", "/api", "API", "openapi.json"],
    ["settings", "/settings", "Settings", "Time zone"],
  ];
  const wrong = [];
  for (const [name, path, heading, text] of screens) {
    try {
      await open(page, path);
      const headings = await page.locator("main h1").allTextContents();
      assert.equal(headings.length, 1, `${name} has ${headings.length} headings of the first level`);
      if (heading) assert.equal(headings[0], heading);
      assert.match(await page.title(), /^.+ · .+$/);
      if (text) assert.ok((await page.locator("main").textContent()).includes(text), `${name} does not show ${text}`);
      await look(page, name);
    } catch (error) {
      // All screens in one run: the message of each is needed.
      wrong.push(`${name}: ${error.message}`);
    }
  }
  assert.deepEqual(wrong, []);
  browser.check();
}
