// The measurement, the same for every queue, and the same as in ../src/measure.rs.
//
// A queue is { name, version, settings, unfinished, open(url, pool), enqueue(job), start(aim, begin) }
// where start() resolves, set up and connected, to a function that stops.

import pg from "pg";
import { setTimeout as sleep } from "node:timers/promises";

const CALLERS = 64;
const PICKUPS_PER_SECOND = 50;
const PATIENCE_MS = 300_000;
const PICKUP_FROM = 2 ** 32;

export async function run(queue) {
  const [url, jobs, pickups] = [process.argv[2], ...process.argv.slice(3).map(Number)];
  const pool = new pg.Pool({ connectionString: url, max: CALLERS, min: CALLERS });
  pool.on("error", (error) => console.error(error.message));
  await Promise.all(Array.from({ length: CALLERS }, () => pool.query("SELECT pg_sleep(0.01)")));
  await queue.open(url, pool);

  const enqueuePerSecond = await enqueue(queue, jobs);
  const durable = await unfinished(queue, pool);
  if (durable !== jobs) throw new Error(`${durable} of ${jobs} jobs are there`);
  for (const statement of ["VACUUM (ANALYZE)", "CHECKPOINT"]) await pool.query(statement);
  const drainPerSecond = await drain(queue, pool, jobs);
  const { fromCall, fromReturn } = await pickUp(queue, pool, pickups);

  console.log(JSON.stringify({
    queue: queue.name,
    version: queue.version,
    settings: queue.settings,
    enqueue_per_second: enqueuePerSecond,
    drain_per_second: drainPerSecond,
    pickup_p50: percentile(fromCall, 0.5),
    pickup_p99: percentile(fromCall, 0.99),
    after_enqueue_p50: percentile(fromReturn, 0.5),
    after_enqueue_p99: percentile(fromReturn, 0.99),
  }));
  process.exit(0);
}

function job(number) {
  return { id: `job-${number.toString(16).padStart(16, "0")}`, number, note: "x".repeat(230) };
}

async function enqueue(queue, jobs) {
  const start = performance.now();
  const callers = Array.from({ length: CALLERS }, async (_, caller) => {
    for (let number = caller; number < jobs; number += CALLERS) await queue.enqueue(job(number));
  });
  await Promise.all(callers);
  return (jobs * 1000) / (performance.now() - start);
}

async function drain(queue, pool, jobs) {
  let count = 0;
  const stop = await queue.start("throughput", () => void count++);
  const start = performance.now();
  await until(() => count >= jobs);
  await until(async () => (await unfinished(queue, pool)) === 0);
  const elapsed = performance.now() - start;
  await stop();
  return (jobs * 1000) / elapsed;
}

async function pickUp(queue, pool, pickups) {
  const begun = new Map();
  const stop = await queue.start("latency", (job) => begun.set(job.number, performance.now()));
  await sleep(1000);
  const start = performance.now();
  const calls = [];
  for (let index = 0; index < pickups; index++) {
    const due = start + (index * 1000) / PICKUPS_PER_SECOND;
    await sleep(Math.max(0, due - performance.now()));
    const number = PICKUP_FROM + index;
    const called = performance.now();
    calls.push(queue.enqueue(job(number)).then(() => [number, called, performance.now()]));
  }
  const answered = await Promise.all(calls);
  await until(() => begun.size >= pickups);
  await until(async () => (await unfinished(queue, pool)) === 0);
  await stop();
  return {
    fromCall: answered.map(([number, called]) => begun.get(number) - called),
    fromReturn: answered.map(([number, , returned]) => Math.max(0, begun.get(number) - returned)),
  };
}

async function unfinished(queue, pool) {
  const { rows } = await pool.query(queue.unfinished);
  return Number(rows[0].count);
}

async function until(condition) {
  const start = performance.now();
  while (!(await condition())) {
    if (performance.now() - start > PATIENCE_MS) throw new Error("not all jobs were finished");
    await sleep(2);
  }
}

function percentile(values, share) {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(Math.floor(sorted.length * share), sorted.length - 1)];
}
