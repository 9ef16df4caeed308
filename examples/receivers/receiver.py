"""Receives what webhook-server forwards, and has each effect once.

terminal 1:  pip install -r requirements.txt
             WEBHOOK_SECRET=whsec_… python receiver.py
terminal 2:  the server, with forward = "http://127.0.0.1:3000/hooks": see README.md

PORT sets another port, and DATABASE another file than receiver.db.
"""

import os
import sqlite3

import uvicorn
from fastapi import FastAPI, Request, Response
from standardwebhooks import Webhook, WebhookVerificationError

webhook = Webhook(os.environ["WEBHOOK_SECRET"])
database = sqlite3.connect(os.environ.get("DATABASE", "receiver.db"))
database.execute("CREATE TABLE IF NOT EXISTS received (id TEXT PRIMARY KEY)")
database.execute("CREATE TABLE IF NOT EXISTS payments (order_id TEXT, cents INTEGER)")
app = FastAPI()


@app.post("/hooks")
async def receive(request: Request) -> Response:
    body = await request.body()
    try:
        event = webhook.verify(body, dict(request.headers))
    except (WebhookVerificationError, ValueError):
        return Response(status_code=401)
    # One database transaction: the id and the effect are both there, or neither is.
    with database:
        sql = "INSERT INTO received (id) VALUES (?) ON CONFLICT DO NOTHING"
        inserted = database.execute(sql, (request.headers["webhook-id"],))
        if inserted.rowcount == 1:
            sql = "INSERT INTO payments (order_id, cents) VALUES (?, ?)"
            database.execute(sql, (event["order"], event["cents"]))
    return Response(status_code=200)


uvicorn.run(app, host="127.0.0.1", port=int(os.environ.get("PORT", "3000")))
