// An event whose every field is markup: no script runs, nothing is requested, no element is added. And one whose every
// field is a long word: no page is wider than its window.
import assert from "node:assert/strict";

import { checkWidths, open } from "../browser.mjs";

const MARKUP = `"'><img src=http://127.0.0.1:1/pwned onerror=alert(1)><script>window.pwned=1</script><a id=pwned href=javascript:alert(2)>x</a>`;

export async function run({ browser, server, receiver }) {
  receiver.answers.set("/orders", { status: 422, headers: { "content-type": "text/html", "x-answer": MARKUP }, body: MARKUP });
  const event = { id: MARKUP, type: MARKUP, [MARKUP]: MARKUP, list: [MARKUP, { [MARKUP]: 1 }] };
  const headers = { "user-agent": MARKUP };
  await server.deliver("orders", [event], headers);
  await server.untilEvents(1, "source=orders&state=failed");
  receiver.answers.set("/orders", { status: 301, headers: { location: `http://127.0.0.1/${encodeURI(MARKUP)}` } });
  await server.deliver("orders", [{ ...event, id: `${MARKUP}2` }], headers);
  await server.untilEvents(2, "source=orders");
  // The same id with another body is a conflict.
  await server.deliver("orders", [{ ...event, more: MARKUP }], headers);
  await server.post(`github?${encodeURIComponent(MARKUP)}`, MARKUP, { "content-type": "text/html", "x-github-event": MARKUP });

  const page = await browser.page();
  const key = encodeURIComponent(MARKUP).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16)}`);
  const path = `/events/orders/${key}`;
  const search = encodeURIComponent(MARKUP);
  const paths = [
    "", "/events", "/failed", "/refused", "/destinations/orders", "/audit", "/jobs", "/sources/orders",
    path, `${path}?unmask=true`, `${path}?view=raw`, `${path}?view=hex`, `${path}?tab=request`, `${path}?tab=attempts`,
    `${path}?tab=conflicts`, `${path}?tab=copy`, `${path}?tab=record`, `${path}/replay`, `${path}/replay?edit=true`,
    `${path}/erase`, `/events?q=${search}`, `/events?type=${search}`, `/audit?text=${search}`,
    `${path}?from=${search}`,
  ];
  for (const each of paths) {
    await open(page, each);
    const found = await page.evaluate(() => ({
      script: window.pwned === 1,
      elements: document.querySelectorAll("#pwned, main img").length,
      links: [...document.querySelectorAll("a")].filter((a) => a.protocol === "javascript:").length,
    }));
    assert.deepEqual(found, { script: false, elements: 0, links: 0 }, each);
  }
  // The path over the script of the page, which is what turns text into markup: a dialog.
  await open(page, path);
  await page.click("#erase");
  await page.waitForSelector("#dialog[open] form");
  assert.equal(await page.evaluate(() => document.querySelectorAll("#pwned, img").length), 0);
  await checkLongWords(page, server);
  browser.check();
}

async function checkLongWords(page, server) {
  const word = "x".repeat(200);
  await server.deliver("orders", [{ id: word, type: word, [word]: word, list: [word, { [word]: word }] }]);
  await server.untilEvents(1, `source=orders&key=${word}`);
  // It has no destination of its own, so the form offers all others with their URLs.
  await server.deliverAsGithub("github", "delivery-1", "{}");
  const path = `/events/orders/${word}`;
  const paths = [
    "", "/events", "/failed", "/refused", "/destinations/orders", "/audit", "/sources/orders", path, `${path}?view=raw`,
    `${path}?view=hex`, `${path}?tab=request`, `${path}?tab=attempts`, `${path}?tab=copy`, `${path}?tab=record`,
    `${path}/replay`, `${path}/erase`, "/events/github/delivery-1/replay", `/events?q=${word}`, `/audit?text=${word}`,
  ];
  for (const each of paths) {
    await open(page, each);
    await checkWidths(page, each);
  }
}
