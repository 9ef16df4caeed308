// Chromium, with checks that hold on every page: no violation of its policy, no error of a script, no request
// to anything but the server.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { PATIENCE } from "./server.mjs";

// The packages are in the folder that cargo builds into, not beside this file.
const require = createRequire(join(process.env.NODE_PACKAGES, "package.json"));
const { chromium } = require("playwright-core");
const { source: axe } = require("axe-core");

const SCREENSHOTS = process.env.SCREENSHOTS;
const SIZE = { width: 1280, height: 800 };
/** The width of a page at 400 % on a screen of 1280 pixels: WCAG 2.2, 1.4.10. */
const NARROW = { width: 320, height: 640 };

/** What a user of an old browser, or of one with scripts turned off, gets. */
export const WITHOUT_SCRIPTS = { javaScriptEnabled: false };

export class Browser {
  static async start(url) {
    const browser = new Browser();
    browser.url = url;
    browser.faults = [];
    browser.chromium = await chromium.launch({
      executablePath: process.env.CHROMIUM,
      timeout: PATIENCE,
      args: [
        "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
      ],
    });
    mkdirSync(SCREENSHOTS, { recursive: true });
    return browser;
  }

  /** Opens a page with cookies and settings of its own. */
  async page(options = {}) {
    const context = await this.chromium.newContext({
      viewport: SIZE, reducedMotion: "reduce", colorScheme: "light", baseURL: this.url, locale: "en-GB",
      timezoneId: "Europe/Berlin", ...options,
    });
    context.setDefaultTimeout(PATIENCE);
    const page = await context.newPage();
    const fault = (text) => this.faults.push(`${page.url()}: ${text}`);
    page.on("request", (request) => {
      const isOwn = request.url().startsWith(`${this.url}/`) || /^(data|blob):/.test(request.url());
      if (!isOwn) fault(`requests ${request.url()}`);
    });
    page.on("pageerror", (error) => fault(`a script failed: ${error}`));
    page.on("dialog", (dialog) => { fault(`a dialog: ${dialog.message()}`); dialog.dismiss(); });
    page.on("console", (message) => {
      if (message.type() === "error" && !this.expected?.test(message.text())) fault(message.text());
    });
    if (options.javaScriptEnabled !== false) {
      await page.addInitScript(() => {
        document.addEventListener("securitypolicyviolation", (event) => {
          console.error(`violates ${event.violatedDirective}: ${event.blockedURI} ${event.sample}`);
        });
      });
    }
    return page;
  }

  /** Fails if anything was wrong on any page. */
  check() {
    assert.deepEqual(this.faults, []);
  }

  async end() {
    await this.chromium.close();
  }
}

/** Opens a path of the dashboard. */
export async function open(page, path) {
  const answer = await page.goto(`/dashboard${path}`, { waitUntil: "load" });
  assert.equal(answer.status(), 200, path);
}

/** Does what loads another page, and waits for that page. */
export async function follow(page, action) {
  // The page may have loaded before the action returns.
  await Promise.all([page.waitForEvent("load"), action()]);
}

/** Checks a page by these rules of axe; without them, by all: those of WCAG 2.2 AA, and best practices. */
export async function checkAccessibility(page, name, rules) {
  await page.evaluate(`window.axe || (() => { ${axe} })(); undefined`);
  const violations = await page.evaluate(async (runOnly) => {
    const results = await axe.run(document, { resultTypes: ["violations"], ...(runOnly && { runOnly }) });
    return results.violations.flatMap(({ id, help, nodes }) =>
      nodes.map((node) => `${id}: ${help}: ${node.target} ${node.html.slice(0, 200)} ${node.any[0]?.message ?? ""}`));
  }, rules);
  assert.deepEqual(violations, [], name);
}

/** Checks a page in light, dark and narrow, and takes a screenshot of each. */
export async function look(page, name) {
  await screenshot(page, `${name}-light`);
  await checkAccessibility(page, `${name}, light`);
  await page.emulateMedia({ colorScheme: "dark" });
  await screenshot(page, `${name}-dark`);
  // Nothing but the colours differs.
  await checkAccessibility(page, `${name}, dark`, ["color-contrast"]);
  await page.emulateMedia({ colorScheme: "light" });
  await checkWidths(page, name, () => screenshot(page, `${name}-narrow`));
}

/** Checks the width of a page in both sizes; `atNarrow` runs while it is narrow. */
export async function checkWidths(page, name, atNarrow = async () => {}) {
  await checkWidth(page, name);
  await page.setViewportSize(NARROW);
  try {
    await atNarrow();
    await checkWidth(page, name);
  } finally {
    await page.setViewportSize(SIZE);
  }
}

/** Fails if the page has to be scrolled in both directions. */
async function checkWidth(page, name) {
  const { width } = page.viewportSize();
  const [needed, wide] = await page.evaluate((width) => [
    document.scrollingElement.scrollWidth,
    [...document.querySelectorAll("body *")]
      .filter((element) => element.getBoundingClientRect().left + element.scrollWidth > width)
      .map((element) => element.cloneNode(false).outerHTML.slice(0, 120)),
  ], width);
  assert.ok(needed <= width, `${name} is ${needed} pixels wide in a window of ${width}:\n${wide.join("\n")}`);
}

export async function screenshot(page, name) {
  const image = await page.screenshot({ fullPage: true, animations: "disabled" });
  writeFileSync(join(SCREENSHOTS, `${name}.png`), image);
}
