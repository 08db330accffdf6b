// Three real servers, a real browser, and what both are asked.

import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

/** How long anything may take that should take no time: on a busy machine, or never. */
export const PATIENCE = 90_000;

const CHROMIUM = process.env.COPYCAT_CHROMIUM || "/usr/bin/chromium";
const BINARY = process.env.COPYCAT_BINARY;

export const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

/** Waits until `look` gives something; an error counts as not yet. */
export async function until(what, look) {
  const start = Date.now();
  let last;
  while (Date.now() - start < PATIENCE) {
    try {
      const found = await look();
      if (found) return found;
    } catch (e) {
      last = e;
    }
    await sleep(50);
  }
  throw new Error(`waited ${PATIENCE} ms in vain for ${what}${last ? `: ${last}` : ""}`);
}

async function isFree(port) {
  return new Promise((done) => {
    const server = createServer();
    server.once("error", () => done(false));
    server.listen(port, "127.0.0.1", () => server.close(() => done(true)));
  });
}

/** Below those that the system hands out, so that they stay free while a server is down. */
async function freePorts(count) {
  for (let first = 20_000 + (process.pid % 900) * 10; first < 32_000; first += count) {
    const all = await Promise.all([...Array(count).keys()].map((i) => isFree(first + i)));
    if (all.every(Boolean)) return first;
  }
  throw new Error("no free ports");
}

export class Cluster {
  static async start(arguments_ = []) {
    if (!BINARY || !existsSync(BINARY)) throw new Error("COPYCAT_BINARY names no program: run `make browser`");
    const cluster = new Cluster();
    cluster.directory = mkdtempSync(join(tmpdir(), "copycat-browser-"));
    cluster.first = await freePorts(6);
    cluster.arguments = arguments_;
    cluster.processes = new Map();
    for (const id of cluster.ids) cluster.run(id);
    await Promise.all(cluster.ids.map((id) => cluster.ready(id)));
    return cluster;
  }

  ids = [1, 2, 3];

  url(id) {
    return `http://127.0.0.1:${this.first + id - 1}`;
  }

  run(id) {
    const peers = this.ids.map((i) => `${i}=127.0.0.1:${this.first + 2 + i}`).join(",");
    const log = openSync(join(this.directory, `server-${id}.log`), "a");
    const child = spawn(BINARY, ["server", "--id", String(id), "--data", join(this.directory, `server-${id}`), "--http", this.url(id).slice(7),
      "--peer", `127.0.0.1:${this.first + 2 + id}`, "--bootstrap", peers, ...this.arguments], { stdio: ["ignore", log, log] });
    this.processes.set(id, child);
  }

  async ready(id) {
    await until(`server ${id} to be ready`, async () => (await fetch(`${this.url(id)}/readyz`)).ok);
  }

  /** kill -9 */
  async kill(id) {
    const child = this.processes.get(id);
    this.processes.delete(id);
    const gone = new Promise((done) => child.once("exit", done));
    child.kill("SIGKILL");
    await gone;
  }

  signal(id, name) {
    this.processes.get(id).kill(name);
  }

  usage(id) {
    const stat = readFileSync(`/proc/${this.processes.get(id).pid}/stat`, "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    // Clock ticks are hundredths of a second on every Linux.
    return (Number(fields[11]) + Number(fields[12])) / 100;
  }

  async get(id, path) {
    const answer = await fetch(this.url(id) + path);
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
    return answer.json();
  }

  async call(id, method, path, body, headers = {}) {
    const answer = await fetch(this.url(id) + path, { method, body, headers });
    const text = await answer.text();
    return { status: answer.status, headers: answer.headers, text, json: (answer.headers.get("content-type") || "").includes("json") ? JSON.parse(text) : null };
  }

  async put(key, value, query = "") {
    const { status, text, json } = await this.call(this.alive(), "PUT", `/v1/kv?key=${encodeURIComponent(key)}${query}`, value);
    if (status >= 300) throw new Error(`PUT ${key}: ${text}`);
    return json;
  }

  async session(name, timeout = "10m") {
    const { json } = await this.call(this.alive(), "POST", "/v1/sessions", JSON.stringify({ name, timeout }));
    return json.session;
  }

  async lock(name, session, query = "") {
    return (await this.call(this.alive(), "PUT", `/v1/locks/${encodeURIComponent(name)}?session=${session}${query}`)).json;
  }

  alive() {
    return [...this.processes.keys()][0];
  }

  /** The leader that a majority names. */
  async leader() {
    return until("a leader", async () => {
      const views = await Promise.all([...this.processes.keys()].map((id) => this.get(id, "/v1/cluster").catch(() => ({}))));
      const named = views.map((v) => v.leader).filter(Boolean);
      return named.find((l) => this.processes.has(l) && named.filter((n) => n === l).length >= 2);
    });
  }

  async stop() {
    await Promise.all([...this.processes.keys()].map((id) => this.kill(id)));
    rmSync(this.directory, { recursive: true, force: true });
  }
}

export async function browser() {
  const flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
  // Files that a test serves count as coming from afar, and such a page may not ask this machine.
  if (process.env.COPYCAT_UI) flags.push("--disable-features=LocalNetworkAccessChecks");
  // A directory of its own for each launch is what playwright makes.
  return chromium.launch({ executablePath: CHROMIUM, headless: true, args: flags });
}

/**
 * A page on which nothing may go wrong unseen: errors in its console, and requests to anywhere but where it may go.
 * @param {string[]} allowed origins
 */
export async function watched(context, allowed) {
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  const faults = [];
  page.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning") faults.push(`console: ${message.text()} (${message.location().url})`);
  });
  page.on("pageerror", (e) => faults.push(`error: ${e}`));
  page.on("request", (request) => {
    const url = new URL(request.url());
    if (!allowed.includes(url.origin)) faults.push(`asked ${request.url()}`);
  });
  return { page, faults };
}

/** Everything that a page can show, in one cluster. */
export async function furnish(cluster) {
  const put = (key, value, query) => cluster.put(key, value, query);
  await put("app/config/database", '{"host":"db-1.internal","pool":16,"tls":true}');
  await put("app/config/features", '{"search":true,"export":false}');
  for (let i = 1; i <= 40; i += 1) await put(`app/users/${String(i).padStart(4, "0")}`, `user number ${i}`);
  await put("notes/readme", "A value of two lines,\nwith ünïcödé and 🐈.");
  await put("jobs/cleanup", "runs at night", "&ttl=30m");
  await put("<script>window.pwned=1</script>", "<img src=x onerror=window.pwned=1>");
  await cluster.call(1, "PUT", "/v1/kv?key=raw/%FF%00%01", Buffer.from([0, 255, 1, 2, 128, 200]));
  await cluster.call(1, "PUT", "/v1/kv?key=app/config/database", '{"host":"db-1.internal","pool":32,"tls":true}', { "Content-Type": "application/json" });
  const names = ["billing-worker-1", "billing-worker-2", "scheduler", "api-gateway", "<b>bold</b>"];
  const sessions = [];
  for (const name of names) sessions.push(await cluster.session(name, "30m"));
  const [a, b, c, d, e] = sessions;
  await cluster.call(1, "PUT", `/v1/kv?key=services/web-1&session=${d}&ephemeral`, "10.0.0.7:80");
  await cluster.lock("invoices", a);
  await cluster.lock("invoices", b, "&queue");
  await cluster.lock("invoices", e, "&queue");
  await cluster.lock("ledger", b);
  await cluster.lock("nightly", c);
  await cluster.lock("nightly", d, "&queue");
  await cluster.lock("reports", d, "&mode=shared");
  await cluster.lock("reports", e, "&mode=shared");
  await cluster.lock("ledger", a, "&queue");
  return { sessions };
}

/** While the dashboard is being worked on: its files from the disk, instead of those in the binary. */
export async function fromDisk(context) {
  const place = process.env.COPYCAT_UI;
  if (!place) return;
  await context.route(/\/(ui\/.*)?(\?.*)?$/, async (route) => {
    const { pathname } = new URL(route.request().url());
    const path = join(place, pathname === "/" ? "index.html" : pathname.slice("/ui/".length));
    if (!existsSync(path)) return route.continue();
    const answer = await route.fetch().catch(() => null);
    return answer ? route.fulfill({ response: answer, status: 200, body: readFileSync(path), headers: { ...answer.headers(), "content-type": kindOf(path) } }) : route.abort();
  });
}

function kindOf(path) {
  return { html: "text/html", css: "text/css", js: "text/javascript", svg: "image/svg+xml" }[path.split(".").pop()] || "text/plain";
}
