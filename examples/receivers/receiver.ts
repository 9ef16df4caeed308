// Receives what webhook-server forwards, and has each effect once.
//
// terminal 1:  npm install
//              WEBHOOK_SECRET=whsec_… node receiver.ts
// terminal 2:  the server, with forward = "http://127.0.0.1:3000/hooks": see README.md
//
// It needs Node.js 22.18 or newer. PORT sets another port, and DATABASE another file than receiver.db.

import { DatabaseSync } from "node:sqlite";
import express from "express";
import { Webhook } from "standardwebhooks";

const webhook = new Webhook(process.env.WEBHOOK_SECRET!);
const database = new DatabaseSync(process.env.DATABASE ?? "receiver.db", { timeout: 5000 });
database.exec("CREATE TABLE IF NOT EXISTS received (id TEXT PRIMARY KEY)");
database.exec("CREATE TABLE IF NOT EXISTS payments (order_id TEXT, cents INTEGER)");
const insertId = database.prepare("INSERT INTO received (id) VALUES (?) ON CONFLICT DO NOTHING");
const insertPayment = database.prepare("INSERT INTO payments (order_id, cents) VALUES (?, ?)");
const app = express();

// The signature is over the bytes of the body, so nothing may parse it before.
app.post("/hooks", express.raw({ type: () => true, limit: "1mb" }), (request, response) => {
  let event: { order: string; cents: number };
  try {
    event = webhook.verify(request.body, request.headers as Record<string, string>) as typeof event;
  } catch {
    response.sendStatus(401);
    return;
  }
  // One database transaction: the id and the effect are both there, or neither is.
  database.exec("BEGIN IMMEDIATE");
  try {
    const { changes } = insertId.run(request.header("webhook-id")!);
    if (changes === 1) insertPayment.run(event.order, event.cents);
    database.exec("COMMIT");
  } catch (error) {
    database.exec("ROLLBACK");
    throw error;
  }
  response.sendStatus(200);
});

const port = Number(process.env.PORT ?? 3000);
app.listen(port, "127.0.0.1", () => console.log(`listening on http://127.0.0.1:${port}/hooks`));
