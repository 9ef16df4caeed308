// Events in every state.

/** An event of the source `orders`. */
export const order = (number, more = {}) => ({
  id: `order-${number}`,
  type: number % 3 ? "order.paid" : "order.refunded",
  data: { amount: 1250.5 + number, currency: "EUR", customer: { name: "Ada", card_number: "4242424242424242" } },
  ...more,
});

/** Delivers some of each sort: processed, duplicate, conflicting, refused, failed for two reasons, waiting. */
export async function everything(server, receiver) {
  receiver.answers.set("/orders", { status: 422, headers: { "content-type": "application/json" }, body: '{"error":"unknown currency"}' });
  for (const body of ['{"ref":"main","size":1}', '{"ref":"main","size":1}', '{"ref":"main","size":2}']) {
    await server.deliverAsGithub("github", "push-1", body);
  }
  await server.deliverAsGithub("github", "push-2", '{"ref":"fix"}');
  await server.deliverAsGithub("github", "push-3", '{"ref":"fix"}', "the secret of somebody else");
  await server.post("github", '{"ref":"fix"}', { "content-type": "application/json" });
  await server.deliver("orders", Array.from({ length: 12 }, (_, index) => order(index + 1)));
  await server.untilEvents(12, "source=orders&state=failed");
  receiver.answers.set("/orders", { status: 404 });
  await server.deliver("orders", [order(13), order(14)]);
  await server.untilEvents(14, "source=orders&state=failed");
  receiver.answers.delete("/orders");
  await server.deliver("orders", [order(15), order(16)]);
  await server.untilEvents(2, "source=orders&state=processed");
  await server.deliver("later", [order(1), order(2), order(3)]);
  await server.untilEvents(2, "source=github&state=processed");
}
