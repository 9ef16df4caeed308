// node scenario.mjs NAME: runs one scenario against a server that already listens. The test
// webhook-server/tests/dashboard.rs starts both, and says by variables of the environment where things are.
import { Browser } from "./browser.mjs";
import { Receiver } from "./receiver.mjs";
import { Server } from "./server.mjs";

const [name] = process.argv.slice(2);
const { run } = await import(`./scenarios/${name}.mjs`);
const server = new Server(process.env.SERVER_URL);
const receiver = await Receiver.start(Number(process.env.RECEIVER_PORT));
const browser = await Browser.start(server.url);
try {
  await run({ browser, server, receiver });
} finally {
  await browser.end();
  receiver.end();
}
