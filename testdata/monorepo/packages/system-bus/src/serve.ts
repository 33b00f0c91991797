import { ids, stamp } from "@busrig/event-contract";
import { fault as committedFault } from "./fault";
import { clusterFunctions } from "./functions/cluster";
import { hostFunctions } from "./functions/host";

// crash-on-boot, never-healthy, ignore-sigterm, register-fails
const fault = process.env.FIXTURE_FAULT || committedFault;
if (fault === "crash-on-boot") throw new Error("fault: crash-on-boot");
process.on("SIGTERM", () => {
  if (fault === "ignore-sigterm") return console.error("fault: SIGTERM is ignored");
  process.exit(0);
});

const role = process.env.WORKER_ROLE === "cluster" ? "cluster" : "host";
const active = role === "cluster" ? clusterFunctions : hostFunctions;
const port = Number(process.env.PORT ?? "3111");
const appId = process.env.INNGEST_APP_ID || `system-bus-${role}`;
const registry = process.env.INNGEST_BASE_URL || "http://127.0.0.1:8288";
const startedAt = stamp();
let lastRegistrationAt = startedAt;

function duplicates(): string[] {
  const all = [...ids(hostFunctions), ...ids(clusterFunctions)];
  return [...new Set(all.filter((id, i) => all.indexOf(id) !== i))].sort();
}

function health() {
  const duplicateFunctionIds = duplicates();
  return {
    service: "system-bus",
    status: "running",
    functions: ids(active),
    count: active.length,
    worker: {
      role,
      startedAt,
      lastRegistrationAt,
      roleCounts: { host: hostFunctions.length, cluster: clusterFunctions.length, active: active.length },
      duplicateFunctionIds,
      hasDuplicateFunctionIds: duplicateFunctionIds.length > 0,
    },
    runtime: {
      cwd: process.cwd(),
      deploymentModel: "single-source",
      legacyCloneDetected: process.cwd().includes("/Code/system-bus-worker/"),
    },
  };
}

// Tells the function server where this worker can be called. Without
// INNGEST_SERVE_HOST that is the address of whoever asked for it.
async function register(origin: string): Promise<Response> {
  lastRegistrationAt = stamp(); // an attempt, whatever comes of it
  const url = `${process.env.INNGEST_SERVE_HOST || origin}/api/inngest`;
  const functions = active.map((f) => ({ id: `${appId}-${f.opts.id}`, name: f.opts.id, triggers: f.opts.triggers }));
  try {
    if (fault === "register-fails") throw new Error("fault: register-fails");
    const answer = await fetch(`${registry}/fn/register`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ url, framework: "bun", appName: appId, functions }),
    });
    if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
    return Response.json({ message: "Successfully registered", modified: true });
  } catch (cause) {
    return Response.json({ message: `Failed to register; ${cause}`, modified: false }, { status: 500 });
  }
}

// Runs a function for an event, as the function server asks.
async function run(request: Request): Promise<Response> {
  const { function: id, event } = await request.json();
  if (!ids(active).includes(id)) return Response.json({ message: `${id} is not of this role` }, { status: 404 });
  return Response.json({ ran: id, role, event: event.id });
}

async function answer(request: Request): Promise<Response> {
  const url = new URL(request.url);
  if (url.pathname === "/" && request.method === "GET") {
    return fault === "never-healthy" ? new Response("starting", { status: 503 }) : Response.json(health());
  }
  if (url.pathname !== "/api/inngest") return new Response("not found", { status: 404 });
  if (request.method === "PUT") return register(url.origin);
  if (request.method === "GET") return Response.json({ function_count: active.length, mode: "dev" });
  if (request.method === "POST") return run(request);
  return new Response("method not allowed", { status: 405, headers: { Allow: "GET, POST, PUT" } });
}

const server = Bun.serve({ port, fetch: answer });
console.log(`system-bus role=${role} functions=${active.length} port=${server.port}`);
