import { stamp } from "@busrig/event-contract";
import { Hono } from "hono";
import { Inngest } from "inngest";
import { serve } from "inngest/hono";

const inngest = new Inngest({ id: "system-bus-cluster" });
const tick = inngest.createFunction({ id: "tick" }, { event: "clock.ticked" }, async () => stamp());
const app = new Hono();
app.get("/", (c) => c.json({ service: "system-bus", functions: ["tick"], count: 1, worker: { role: "cluster" } }));
app.on(["GET", "PUT", "POST"], "/api/inngest", serve({ client: inngest, functions: [tick] }));

Bun.serve({ port: Number(process.env.PORT ?? "3111"), fetch: app.fetch });
console.log("system-bus with its dependencies");
