// The app behind the server: it answers what a scenario says.
import { createServer } from "node:http";

export class Receiver {
  /** The answer by path; without one, 204. */
  answers = new Map();
  /** The bodies that each path has got. */
  received = new Map();

  static async start(port) {
    const receiver = new Receiver();
    receiver.http = createServer((request, response) => {
      const chunks = [];
      request.on("data", (chunk) => chunks.push(chunk));
      request.on("end", () => {
        const bodies = receiver.received.get(request.url) ?? [];
        receiver.received.set(request.url, [...bodies.slice(-99), Buffer.concat(chunks).toString()]);
        const { status = 204, headers = {}, body = "" } = receiver.answers.get(request.url) ?? {};
        response.writeHead(status, headers).end(body);
      });
    });
    await new Promise((resolve, reject) => {
      receiver.http.once("error", reject);
      receiver.http.listen(port, "127.0.0.1", resolve);
    });
    return receiver;
  }

  end() {
    this.http.close();
    this.http.closeAllConnections();
  }
}
