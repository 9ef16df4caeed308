// Tokens: signing in and out, what a reader sees, and that nothing is shown without.
import assert from "node:assert/strict";

import { follow, look, open } from "../browser.mjs";
import { order } from "../events.mjs";

export async function run({ browser, server, receiver }) {
  receiver.answers.set("/orders", { status: 422 });
  await server.deliver("orders", [order(1)]);
  await server.untilEvents(1, "source=orders&state=failed");
  const page = await browser.page();
  browser.expected = /401 \(Unauthorized\)/;
  const signIn = async (token) => {
    await page.fill("#token", token);
    await follow(page, () => page.click("#sign-in"));
  };

  // A page asks for the token, and is shown then.
  await page.goto("/dashboard/events/orders/order-1");
  assert.equal(await page.textContent("main h1"), "Sign in");
  assert.equal(await page.locator("nav#menu").count(), 0);
  await look(page, "sign-in");
  await signIn("wht_not_a_token");
  await page.waitForSelector("#sign-in-error");
  await signIn(process.env.API_TOKEN);
  assert.equal(await page.textContent("main h1"), "order-1");
  assert.match(await page.textContent("#who"), /may operate/);
  const [cookie] = (await page.context().cookies()).filter((it) => it.name.includes("session"));
  assert.deepEqual([cookie.httpOnly, cookie.sameSite, cookie.path], [true, "Strict", "/"]);
  // Another window of the session asks for the token as soon as it has ended.
  const other = await page.context().newPage();
  await open(other, "/failed");
  await other.waitForSelector("#live[data-state=live]");
  await follow(page, () => page.click("#sign-out"));
  await other.waitForSelector("#sign-in");
  await other.close();
  assert.equal(await page.textContent("main h1"), "Sign in");
  await page.goto("/dashboard");
  assert.equal(await page.textContent("main h1"), "Sign in");
  await page.context().addCookies([cookie]);
  await page.goto("/dashboard");
  assert.equal(await page.textContent("main h1"), "Sign in", "a session that has ended stays ended");

  // A reader sees what there is, and no button that acts.
  await signIn(process.env.READ_TOKEN);
  assert.match(await page.textContent("#who"), /may read/);
  for (const path of ["", "/events", "/events/orders/order-1", "/failed", "/sources/orders", "/destinations/orders", "/jobs"]) {
    await open(page, path);
    assert.equal(await page.locator("main form[method=post] button:visible").count(), 0, path);
  }
  await open(page, "/events/orders/order-1");
  assert.ok(!(await page.content()).includes("4242424242424242"), "secrets are masked");
  browser.check();
}
