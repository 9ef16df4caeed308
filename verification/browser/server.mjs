// The server under test, as its senders and the users of its API see it.
import { createHmac } from "node:crypto";

/** The longest wait for a condition, in milliseconds: longer than anything takes on the slowest machine. */
export const PATIENCE = Number(process.env.PATIENCE_MS ?? 60_000);

export class Server {
  constructor(url) {
    this.url = url;
  }

  /** Delivers events to a source whose `split` is `/events/*`. */
  async deliver(source, events, headers = {}) {
    const body = JSON.stringify({ events });
    const answer = await this.post(source, body, { "content-type": "application/json", ...headers });
    if (!answer.ok) throw new Error(`${source} answered ${answer.status}: ${await answer.text()}`);
  }

  /** Delivers to a source as GitHub does. */
  deliverAsGithub(source, id, body, secret = process.env.SENDER_SECRET) {
    const signature = createHmac("sha256", secret).update(body).digest("hex");
    return this.post(source, body, {
      "content-type": "application/json",
      "x-github-delivery": id,
      "x-github-event": "push",
      "x-hub-signature-256": `sha256=${signature}`,
    });
  }

  post(source, body, headers) {
    return fetch(`${this.url}/v1/webhooks/${source}`, { method: "POST", body, headers });
  }

  /** A document of the admin API. */
  async get(path) {
    const headers = process.env.API_TOKEN ? { authorization: `Bearer ${process.env.API_TOKEN}` } : {};
    const answer = await fetch(`${this.url}/v1/operator/${path}`, { headers });
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
    return answer.json();
  }

  /** Waits until at least so many events match a filter. */
  async untilEvents(count, filter) {
    await until(`${count} events match ${filter}`, async () => {
      const { events } = await this.get(`events?${filter}&limit=200`);
      return events.length >= count;
    });
  }
}

/** Waits until `holds` does. */
export async function until(what, holds) {
  const end = Date.now() + PATIENCE;
  while (!(await holds())) {
    if (Date.now() > end) throw new Error(`not within ${PATIENCE} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
