// pg-boss. Draining, several loops fetch and complete large batches, which its documentation names
// as the way to go fast; picking up, its own worker polls as often as it can be told to.

import { createRequire } from "node:module";
import PgBoss from "pg-boss";
import { run } from "./measure.mjs";

const { version } = createRequire(import.meta.url)("pg-boss/package.json");
const BATCH = 1000;
const LOOPS = 2;
const QUEUE = "job";
let boss;

await run({
  name: "pg-boss (Node)",
  version,
  settings:
    `drain: ${LOOPS} loops of fetch and complete, batches of ${BATCH}; ` +
    "pick-up: work(), polling every 0.5 s (its least); one process",
  unfinished: "SELECT count(*) FROM pgboss.job WHERE name = 'job' AND state < 'completed'",

  async open(connectionString) {
    boss = new PgBoss({ connectionString, max: 64 });
    boss.on("error", (error) => console.error(`pg-boss: ${error.message}`));
    await boss.start();
    await boss.createQueue(QUEUE);
  },

  enqueue: (job) => boss.send(QUEUE, job),

  async start(aim, begin) {
    if (aim === "latency") {
      await boss.work(QUEUE, { pollingIntervalSeconds: 0.5, batchSize: BATCH }, async (jobs) =>
        jobs.forEach((job) => begin(job.data)),
      );
      return () => boss.offWork(QUEUE);
    }
    let stopped = false;
    const loops = Array.from({ length: LOOPS }, async () => {
      while (!stopped) {
        const jobs = await boss.fetch(QUEUE, { batchSize: BATCH });
        if (jobs.length === 0) return;
        jobs.forEach((job) => begin(job.data));
        await boss.complete(QUEUE, jobs.map((job) => job.id));
      }
    });
    return async () => {
      stopped = true;
      await Promise.all(loops);
    };
  },
});
