// Every page, light and dark, wide and narrow, into target/screenshots. Look at them.

import { mkdirSync } from "node:fs";
import { Cluster, browser, fromDisk, furnish, sleep, until } from "./harness.mjs";

const OUT = process.env.COPYCAT_SHOTS || "../../target/screenshots";
const only = process.argv.slice(2);
const PAGES = [
  ["overview", ""], ["members", ""], ["elections", "span=60"], ["log", "from=SEGMENT"], ["keys", "prefix=app%2F&key=app%2Fconfig%2Fdatabase"], ["keys-list", "view=list"],
  ["sessions", "session=SESSION"], ["locks", "lock=invoices"], ["tail", "source=log"], ["lens", "key=app%2Fconfig%2Fdatabase"],
];
const SIZES = { wide: { width: 1440, height: 900 }, narrow: { width: 360, height: 780 } };

/** A load like somebody's: reads of each kind and writes. */
function load(cluster, stop) {
  const kinds = ["linearizable", "lease", "sequential"];
  const one = async (i) => {
    while (!stop.done) {
      const id = [...cluster.processes.keys()][i % cluster.processes.size];
      await cluster.call(id, "GET", `/v1/kv?key=app/users/0001&consistency=${kinds[i % 3]}`).catch(() => {});
      if (i % 2 === 0) await cluster.call(id, "PUT", `/v1/kv?key=load/${i}`, "x".repeat(8000)).catch(() => {});
      await sleep(5 + (i * 7) % 20);
    }
  };
  return Promise.all([...Array(6).keys()].map(one));
}

mkdirSync(OUT, { recursive: true });
const cluster = await Cluster.start(["--segment-size", String(2 * 1024 * 1024), "--largest-entry", "1500000"]);
const chrome = await browser();
const stop = { done: false };
try {
  const { sessions } = await furnish(cluster);
  const loading = load(cluster, stop);
  await sleep(6000);
  // An election to look at.
  const dead = await cluster.leader();
  await cluster.kill(dead);
  await cluster.leader();
  await sleep(1500);
  cluster.run(dead);
  await cluster.ready(dead);
  await sleep(5000);
  const leader = await cluster.leader();
  for (const [size, viewport] of Object.entries(SIZES)) {
    for (const theme of ["light", "dark"]) {
      const context = await chrome.newContext({ viewport, colorScheme: theme, deviceScaleFactor: size === "narrow" ? 2 : 1 });
      await fromDisk(context);
      const page = await context.newPage();
      for (const [name, query] of PAGES) {
        if (only.length && !only.includes(name)) continue;
        const id = name === "elections" ? [1, 2, 3].find((i) => i !== leader && i !== dead) : leader;
        await page.goto("about:blank");
        const { segments } = await (await fetch(`${cluster.url(id)}/v1/log`)).json();
        const filled = query.replace("SESSION", String(sessions[0])).replace("SEGMENT", String(segments.at(-1).first_index));
        await page.goto(`${cluster.url(id)}/#/${name.replace("-list", "")}?${filled}`);
        await until("the page to be live", () => page.locator(".pill .badge.ok").count());
        await sleep(name === "lens" || name === "tail" ? 2500 : 1200);
        await page.screenshot({ path: `${OUT}/${name}-${size}-${theme}.png` });
      }
      await context.close();
    }
  }
  if (!only.length || only.includes("noquorum")) {
    const context = await chrome.newContext({ viewport: SIZES.wide, colorScheme: "light" });
    const page = await context.newPage();
    await page.goto(`${cluster.url(leader)}/`);
    await until("the page to be live", () => page.locator(".pill .badge.ok").count());
    for (const id of [1, 2, 3].filter((i) => i !== leader)) await cluster.kill(id);
    await until("the alarm", () => page.getByText("No quorum that this server knows of").count());
    await page.screenshot({ path: `${OUT}/noquorum-wide-light.png` });
    await context.close();
  }
  stop.done = true;
  await loading;
} finally {
  stop.done = true;
  await chrome.close();
  await cluster.stop();
}
console.log(`screenshots: in ${OUT}`);
