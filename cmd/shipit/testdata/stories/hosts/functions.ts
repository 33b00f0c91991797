// A stand-in for the function server that workers register with: an event starts
// the functions that wait for it, and what became of it can be asked.
type App = { url: string; appName: string; functions: { name: string; triggers: { event: string }[] }[] };
const apps = new Map<string, App>();
const runs = new Map<string, unknown>();

async function run(app: App, name: string, event: { id: string }) {
  const answer = await fetch(app.url, { method: "POST", body: JSON.stringify({ function: name, event }) });
  const output = answer.ok ? await answer.json() : await answer.text();
  runs.set(event.id, { status: answer.ok ? "Completed" : "Failed", event: event.id, output });
}

Bun.serve({
  port: 8288,
  async fetch(request) {
    const path = new URL(request.url).pathname;
    if (path === "/fn/register") {
      const app: App = await request.json();
      apps.set(app.appName, app);
      return Response.json({ ok: true });
    }
    if (path === "/apps") return Response.json([...apps.values()].map((app) => app.url));
    if (path.startsWith("/runs/")) {
      const found = runs.get(path.slice("/runs/".length));
      return found ? Response.json(found) : new Response("no such run", { status: 404 });
    }
    if (path !== "/e/key") return new Response("not found", { status: 404 });
    const event = await request.json();
    for (const app of apps.values()) {
      for (const f of app.functions) {
        if (f.triggers.some((t) => t.event === event.name)) void run(app, f.name, event);
      }
    }
    return Response.json({ ids: [event.id] });
  },
});
