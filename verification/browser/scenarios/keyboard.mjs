// The keyboard alone: each key, the order of the focus, and the focus after dialogs.
import assert from "node:assert/strict";

import { follow, open } from "../browser.mjs";
import { everything } from "../events.mjs";

export async function run({ browser, server, receiver }) {
  await everything(server, receiver);
  const page = await browser.page();
  await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
  const focused = () => page.evaluate(() => {
    const { id, tagName, dataset } = document.activeElement;
    return dataset.key ?? (id || tagName);
  });
  const heading = () => page.textContent("main h1");
  const goes = async (keys, expected) => {
    for (const key of keys.slice(0, -1)) await page.keyboard.press(key);
    await follow(page, () => page.keyboard.press(keys.at(-1)));
    assert.equal(await heading(), expected, keys.join(" "));
  };

  // The first stop skips the navigation.
  await open(page, "");
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.className), "skip");
  await page.keyboard.press("Enter");
  assert.equal(await focused(), "main");

  for (const [key, expected] of [
    ["e", "Events"], ["f", "Failed"], ["r", "Refused"], ["s", "Sources"], ["d", "Destinations"], ["w", "Workers"],
    ["j", "Jobs"], ["a", "Audit"], ["i", "API"], ["o", "Overview"],
  ]) {
    await goes(["g", key], expected);
  }

  // Rows: down, up, select, a range, all, copy, open, back.
  await open(page, "/events?q=source:orders");
  await page.keyboard.press("j");
  assert.equal(await focused(), "order-16");
  await page.keyboard.press("j");
  await page.keyboard.press("j");
  await page.keyboard.press("k");
  assert.equal(await focused(), "order-15");
  await page.keyboard.press("y");
  await page.waitForFunction(() => document.querySelector("#announce").textContent === "The key copied");
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), "order-15");
  await page.keyboard.press("x");
  assert.equal(await page.textContent("#selected-count"), "1");
  await page.keyboard.press("j");
  await page.keyboard.press("j");
  await page.keyboard.press("Shift+X");
  assert.equal(await page.textContent("#selected-count"), "3");
  await page.keyboard.press("*");
  assert.equal(await page.textContent("#selected-count"), "16");
  assert.ok(await page.isChecked("#select-all"));
  await page.keyboard.press("x");
  assert.equal(await page.textContent("#selected-count"), "15");
  assert.ok(!(await page.isChecked("#select-all")), "one is not selected");
  await goes(["Enter"], "order-13");
  await goes(["Escape"], "Events");
  assert.equal(new URL(page.url()).searchParams.get("q"), "source:orders");

  // A key does nothing where its button is hidden, or where there is nothing to copy.
  await open(page, "/events?q=source:orders");
  await page.evaluate(() => document.addEventListener("submit", (event) => {
    event.preventDefault();
    document.querySelector("#announce").textContent = "submitted";
  }));
  await page.keyboard.press("r");
  assert.equal(await page.textContent("#announce"), "");
  await open(page, "");
  await page.focus("#failures [data-href]");
  await page.keyboard.press("y");
  await page.keyboard.press("k");
  assert.equal(await page.textContent("#announce"), "");
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), "order-15");

  // The menu is not seen in a narrow window; its keys work.
  await page.setViewportSize({ width: 640, height: 640 });
  await goes(["g", "f"], "Failed");
  await page.setViewportSize({ width: 1280, height: 800 });

  // Requeue, and the command for a terminal.
  await open(page, "/events/orders/order-13");
  await goes(["c"], "order-13");
  assert.match(await page.textContent("#tab"), /curl/);
  await page.locator("[data-copy]").first().focus();
  await page.keyboard.press("Enter");
  await page.locator("[data-copy]:has-text('Copied')").waitFor();
  assert.match(await page.evaluate(() => navigator.clipboard.readText()), /curl/);
  await page.locator("[data-copy]:has-text('Copied')").waitFor({ state: "detached" });
  await follow(page, () => page.keyboard.press("r"));
  await page.waitForSelector("#flash");

  // Search: keys are letters there.
  await page.keyboard.press("/");
  assert.equal(await focused(), "search");
  await page.keyboard.type("order-1 t.?g");
  assert.equal(await page.inputValue("#search"), "order-1 t.?g");
  await page.fill("#search", "key:order-14");
  await goes(["Enter"], "Events");
  assert.equal(await page.locator("#events tbody tr").count(), 1);

  // Dialogs give the focus back.
  await page.keyboard.press("?");
  await page.waitForSelector("#dialog[open] kbd");
  await page.keyboard.press("Escape");
  await page.waitForSelector("#dialog:not([open])", { state: "attached" });
  await open(page, "/sources/github");
  await page.focus("#source-pause-github");
  await page.keyboard.press("Enter");
  await page.waitForSelector("#dialog[open] #confirm-pause");
  await page.keyboard.press("Escape");
  await page.waitForFunction(() => document.activeElement.id === "source-pause-github");
  await page.keyboard.press("Enter");
  await page.focus("#dialog[open] [data-close]");
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.activeElement.id === "source-pause-github");

  // What is chosen in a dialog leads back to the page below it.
  await page.keyboard.press("?");
  await page.check("#dialog[open] input[name=theme][value=dark]");
  await follow(page, () => page.click("#dialog #save"));
  assert.equal(await heading(), "github");
  assert.equal(await page.getAttribute("html", "data-theme"), "dark");
  await follow(page, () => page.click("#theme"));

  // Live updates and the theme.
  await page.waitForSelector("#live[data-state=live]");
  await page.keyboard.press(".");
  await page.waitForSelector("#live[aria-pressed=true]");
  await page.keyboard.press(".");
  await page.waitForSelector("#live[aria-pressed=false]");
  await follow(page, () => page.keyboard.press("t"));
  assert.equal(await page.getAttribute("html", "data-theme"), "light");

  // Every control is reached by Tab, in the order of the page, and shows that it has the focus.
  await open(page, "/events/orders/order-12");
  const reachable = await page.evaluate(() => {
    const controls = [...document.querySelectorAll("a[href], button, input:not([type=hidden]), summary, [tabindex='0']")];
    return controls.filter((it) => it.checkVisibility() && !it.disabled).length;
  });
  const seen = [];
  for (let index = 0; index < reachable; index += 1) {
    await page.keyboard.press("Tab");
    seen.push(await page.evaluate(() => {
      const element = document.activeElement;
      const all = [...document.querySelectorAll("*")];
      return { at: all.indexOf(element), visible: element.matches(":focus-visible"), outline: getComputedStyle(element).outlineStyle };
    }));
  }
  const places = seen.map(({ at }) => at);
  assert.deepEqual(places, [...new Set(places)].sort((a, b) => a - b), "the focus goes down the page");
  assert.ok(seen.every(({ visible, outline }) => visible && outline !== "none"), "each focus is visible");

  // Keys can be turned off.
  await open(page, "/settings");
  await page.check("input[name=keys][value=nokeys]");
  await page.click("#save");
  await open(page, "");
  await page.keyboard.press("g");
  await page.keyboard.press("e");
  await page.keyboard.press("?");
  assert.equal(await heading(), "Overview");
  assert.equal(await page.locator("#dialog[open]").count(), 0);
  browser.check();
}
