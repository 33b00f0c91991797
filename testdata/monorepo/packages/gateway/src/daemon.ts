import { mkdir, rm, writeFile } from "node:fs/promises";
import { stamp } from "@busrig/event-contract";

// session-dead, ignore-sigterm
const fault = process.env.FIXTURE_FAULT || "";
const degraded = process.env.FIXTURE_REDIS === "down";
const port = Number(process.env.GATEWAY_PORT ?? "3018");
const state = process.env.GATEWAY_STATE_DIR ?? "/tmp/gateway";
const startedAt = Date.now();

function health() {
  const available = fault !== "session-dead";
  return {
    ok: available,
    available, // stays true without Redis
    healthy: available && !degraded,
    checkedAt: stamp(),
    mode: degraded ? "redis_degraded" : "normal",
    components: { redis: degraded ? "degraded" : "ok", session: available ? "ok" : "dead" },
    status: { pid: process.pid, uptimeMs: Date.now() - startedAt },
  };
}

const server = Bun.serve({
  port,
  fetch(request) {
    if (new URL(request.url).pathname !== "/health") {
      return new Response("WebSocket upgrade required", { status: 426 });
    }
    const now = health();
    return Response.json(now, { status: now.available ? 200 : 503 });
  },
});

const pidFile = `${state}/gateway.pid`;
await mkdir(state, { recursive: true });
await writeFile(pidFile, `${process.pid}\n`);
process.on("SIGTERM", async () => {
  if (fault === "ignore-sigterm") return console.error("fault: SIGTERM is ignored");
  await rm(pidFile, { force: true });
  process.exit(0);
});
console.log(`gateway pid=${process.pid} port=${server.port}`);
