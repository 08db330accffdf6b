// What the dashboard costs: the server that it looks through, the network, and the patience of whoever opens it. Prints it.

import { Agent, request } from "node:http";
import { Cluster, browser, sleep, until } from "./harness.mjs";

/** How long each phase is measured, s; and how often the two are measured in turn, so that what else runs here hits both. */
const SECONDS = Number(process.env.COPYCAT_COST_SECONDS || 15);
const ROUNDS = Number(process.env.COPYCAT_COST_ROUNDS || 5);
const CLIENTS = 8;

/** Clients that keep their connections, at a steady pace: a load that differs from phase to phase would hide the difference. */
function load(cluster, id) {
  const agent = new Agent({ keepAlive: true, maxSockets: CLIENTS });
  const state = { done: false, count: 0 };
  const { hostname, port } = new URL(cluster.url(id));
  const one = (method, path, body) => new Promise((done) => {
    const asked = request({ agent, hostname, port, method, path }, (answer) => {
      answer.resume();
      answer.on("end", done);
    });
    asked.on("error", done);
    asked.end(body);
  });
  const client = async (i) => {
    while (!state.done) {
      if (i % 4 === 0) await one("PUT", `/v1/kv/load/${i}`, "x".repeat(100));
      else await one("GET", `/v1/kv/load/0?consistency=${["linearizable", "lease", "sequential"][i % 3]}`);
      state.count += 1;
      await sleep(2);
    }
  };
  state.over = Promise.all([...Array(CLIENTS).keys()].map(client)).then(() => agent.destroy());
  return state;
}

async function measure(cluster, id, state) {
  const [before, asked, start] = [cluster.usage(id), state.count, performance.now()];
  await sleep(SECONDS * 1000);
  const seconds = (performance.now() - start) / 1000;
  return { cpu: ((cluster.usage(id) - before) / seconds) * 100, rate: (state.count - asked) / seconds };
}

const cluster = await Cluster.start(["--election-timeout", "2s"]);
const chrome = await browser();
try {
  const id = await cluster.leader();
  for (let i = 0; i < 200; i += 1) await cluster.put(`key/${i}`, "value");

  // The first page, with an empty cache: what comes over the wire, and when it is drawn.
  const context = await chrome.newContext({ viewport: { width: 1440, height: 900 } });
  const page = await context.newPage();
  const session = await context.newCDPSession(page);
  await session.send("Network.enable");
  let wire = 0;
  session.on("Network.loadingFinished", (e) => { wire += e.encodedDataLength; });
  await page.goto(cluster.url(id));
  await until("the page to be live", () => page.locator(".pill .badge.ok").count());
  const drawn = await page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? 0);
  const shown = await page.evaluate(() => performance.getEntriesByName("copycat-shown")[0]?.startTime ?? 0);
  await sleep(300);
  console.log(`first page: ${(wire / 1000).toFixed(1)} kB on the wire; first paint after ${drawn.toFixed(0)} ms, the cluster shown after ${shown.toFixed(0)} ms`);
  if (wire === 0 || wire > 150_000) throw new Error("more than 150 kB, or nothing measured");
  await context.close();

  const state = load(cluster, id);
  await sleep(2000);
  const pages = ["overview", "members", "elections", "log", "keys", "sessions", "locks"];
  const sums = { without: [], with: [] };
  for (let round = 0; round < ROUNDS; round += 1) {
    sums.without.push(await measure(cluster, id, state));
    // Ten of them, each on a page: one alone is lost in what the load itself varies by.
    const contexts = [];
    for (let i = 0; i < 10; i += 1) {
      const opened = await chrome.newContext();
      contexts.push(opened);
      const looking = await opened.newPage();
      await looking.goto(`${cluster.url(id)}/#/${pages[i % pages.length]}`);
    }
    await sleep(3000);
    sums.with.push(await measure(cluster, id, state));
    for (const opened of contexts) await opened.close();
    await sleep(1000);
  }
  state.done = true;
  await state.over;
  const mean = (list, of) => list.reduce((sum, one) => sum + one[of], 0) / list.length;
  const [off, on] = [sums.without, sums.with];
  // What a request costs is taken off: with ten pages open on the same machine, fewer are asked. The middle of the rounds
  // counts: what else runs on the machine makes some of them nonsense.
  const all = on.map((one, i) => (one.cpu - (off[i].cpu / off[i].rate) * one.rate) / 10).sort((a, b) => a - b);
  const each = all[Math.floor(all.length / 2)];
  console.log(`load: ${mean(off, "rate").toFixed(0)} requests a second without, ${mean(on, "rate").toFixed(0)} with ten dashboards open`);
  console.log(`server: ${mean(off, "cpu").toFixed(1)} % of a core without, ${mean(on, "cpu").toFixed(1)} % with; ${each.toFixed(2)} % for each dashboard (${all.map((v) => v.toFixed(2)).join(" ")})`);
  console.log(`rounds: ${on.map((one, i) => `${off[i].cpu.toFixed(1)}/${one.cpu.toFixed(1)}`).join(" ")}`);
} finally {
  await chrome.close();
  await cluster.stop();
}
