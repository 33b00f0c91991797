// A worker as the first user's: hono, the SDK's handler at /api/inngest, a health answer
// at /, and connect mode behind a switch.
import { Hono } from "hono";
import { Inngest } from "inngest";
import { connect } from "inngest/connect";
import { serve } from "inngest/hono";

const role = process.env.WORKER_ROLE ?? "host";
const id = process.env.INNGEST_APP_ID ?? `system-bus-${role}`;
const startedAt = new Date().toISOString();
let lastRegistrationAt = startedAt;

const client = new Inngest({ id });
const observed = client.createFunction({ id: "queue-observer" }, { event: "queue/observer.requested" }, async ({ event, step }) =>
  step.run("observe", () => ({ id: event.data.id, role, pid: process.pid })),
);
const failing = client.createFunction({ id: "failing", retries: 0 }, { event: "always/fails" }, async () => {
  throw new Error("as it always does");
});
const functions = [observed, failing];

const app = new Hono();
app.get("/", (c) =>
  c.json({
    functions: functions.map((f) => f.opts.id),
    count: functions.length,
    worker: { role, startedAt, lastRegistrationAt },
    runtime: { pid: process.pid },
  }),
);
const handler = serve({ client, functions });
app.on(["GET", "PUT", "POST"], "/api/inngest", (c) => {
  if (c.req.method === "PUT") lastRegistrationAt = new Date().toISOString();
  return handler(c);
});

const server = Bun.serve({ port: Number(process.env.PORT ?? "0"), hostname: "127.0.0.1", fetch: app.fetch });
console.log(`listening ${server.port}`);

if (process.env.INNGEST_CONNECT_MODE === "1") {
  void connect({ apps: [{ client, functions }], instanceId: `${id}-${process.pid}` })
    .then((connection) => {
      // The SDK takes SIGTERM for itself and only closes the connection; the server
      // above would keep the process alive.
      if (process.env.EXIT_WHEN_CLOSED === "1") void connection.closed.then(() => process.exit(0));
    })
    .catch((error) => console.error("connect failed", String(error)));
}
if (process.env.EXIT_WHEN_CLOSED === "1") process.on("SIGTERM", () => setTimeout(() => process.exit(0), 500));
