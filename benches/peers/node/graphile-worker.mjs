// graphile-worker, with the settings of https://worker.graphile.org/docs/performance, in one process.

import { createRequire } from "node:module";
import { makeWorkerUtils, run as runWorker, Logger } from "graphile-worker";
import { run } from "./measure.mjs";

const { version } = createRequire(import.meta.url)("graphile-worker/package.json");
const silent = new Logger(() => () => {});
let url;
let utils;

await run({
  name: "graphile-worker (Node)",
  version,
  settings:
    "drain: 24 jobs at a time, local queue of 500, completions batched, as in its documentation; " +
    "pick-up: 24 at a time, no batching; one process",
  unfinished: "SELECT count(*) FROM graphile_worker._private_jobs",

  async open(databaseUrl, pool) {
    url = databaseUrl;
    utils = await makeWorkerUtils({ pgPool: pool, logger: silent });
    await utils.migrate();
  },

  enqueue: (job) => utils.addJob("job", job),

  async start(aim, begin) {
    const fast = {
      localQueue: { size: 500 },
      completeJobBatchDelay: 0,
      failJobBatchDelay: 0,
    };
    const runner = await runWorker({
      preset: {
        worker: {
          connectionString: url,
          concurrentJobs: 24,
          maxPoolSize: 25,
          logger: silent,
          ...(aim === "throughput" ? fast : {}),
        },
      },
      noHandleSignals: true,
      taskList: { job: async (payload) => begin(payload) },
    });
    return () => runner.stop();
  },
});
