// Live updates while a thousand events a second arrive: the page shows them, its stream tells at most every two
// seconds, and one computation serves all pages.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

import { open } from "../browser.mjs";
import { order } from "../events.mjs";
import { until } from "../server.mjs";

const EACH = 100;
const PAUSE_MS = 100;
const SECONDS = 6;

export async function run({ browser, server }) {
  const page = await browser.page();
  await server.deliver("later", [order(0)]);
  await open(page, "/events");
  await page.waitForSelector("#live[data-state=live]");

  // Events that arrive before the stream begins are new, too.
  const early = await browser.page();
  let begin;
  const begun = new Promise((resolve) => { begin = resolve; });
  await early.route("**/dashboard/live", async (route) => {
    await begun;
    await route.continue();
  });
  await open(early, "/events");
  await server.deliver("later", [order(1_000_000)]);
  begin();
  await early.waitForFunction(() => document.querySelector("#new-events").textContent === "1 new, show");
  await early.close();

  // A page whose stream is lost begins another one.
  const lost = await browser.page();
  browser.expected = /Failed to load resource: net::ERR_FAILED/;
  await lost.route("**/dashboard/live", (route) => route.abort());
  await open(lost, "/sources");
  await lost.waitForSelector("#live[data-state=lost]:has-text('lost, trying again')");
  await lost.unroute("**/dashboard/live");
  await lost.waitForSelector("#live[data-state=live]");
  await lost.close();
  browser.expected = undefined;

  // What the page hears.
  const overview = await browser.page();
  await overview.addInitScript(() => {
    window.samples = [];
    const Stream = window.EventSource;
    window.EventSource = class extends Stream {
      constructor(...all) {
        super(...all);
        this.addEventListener("page", () => window.samples.push(performance.now()));
      }
    };
  });

  let delivered = 1;
  const arrive = async (seconds) => {
    const [start, before, cpu] = [performance.now(), delivered, cpuSeconds()];
    while (performance.now() - start < seconds * 1000) {
      const next = performance.now() + PAUSE_MS;
      await server.deliver("later", Array.from({ length: EACH }, (_, index) => order(delivered + index)));
      delivered += EACH;
      await new Promise((resolve) => setTimeout(resolve, Math.max(0, next - performance.now())));
    }
    const elapsed = (performance.now() - start) / 1000;
    return { rate: (delivered - before) / elapsed, cpu: (cpuSeconds() - cpu) / elapsed };
  };
  await arrive(0.001);
  await page.waitForFunction(() => /^[1-9][\d,]* new, show$/.test(document.querySelector("#new-events").textContent));
  await page.goto("about:blank");
  const alone = await arrive(SECONDS);
  await open(overview, "");
  await overview.waitForSelector("#live[data-state=live]");
  const watched = await arrive(SECONDS);
  const samples = await overview.evaluate(() => window.samples);
  const gaps = samples.slice(1).map((at, index) => at - samples[index]);
  // A busy machine may deliver two of them together; it cannot make them more.
  assert.ok(samples.length <= 2 + (samples.at(-1) - samples[0]) / 2000, `samples after ${gaps.map(Math.round)} ms`);
  await until("the overview shows them", async () => {
    const text = await overview.textContent("#source-later, tr:has-text('later')");
    return !/healthy\s*0\s*$/.test(text);
  });
  await open(page, "/events?q=source:later");
  assert.equal(await page.locator("#events tbody tr").count(), 50);
  const percent = (share) => `${(share * 100).toFixed(1)} %`;
  console.log(`live: ${alone.rate.toFixed(0)} events/s cost ${percent(alone.cpu)} of a processor, `
    + `${watched.rate.toFixed(0)} events/s with a page open ${percent(watched.cpu)}; ${samples.length} samples`);
  browser.check();
}

/** The time of processors that the server has used, in seconds. */
function cpuSeconds() {
  const stat = readFileSync(`/proc/${process.env.SERVER_PID}/stat`, "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  // In hundredths of a second on Linux: sysconf(_SC_CLK_TCK).
  return (Number(fields[11]) + Number(fields[12])) / 100;
}
