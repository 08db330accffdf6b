// The dashboard in Chromium, looking at three real servers. A page that writes an error to its console, or asks anybody but
// its server, fails the test that it is open in.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { after, afterEach, before, describe, test } from "node:test";
import { Cluster, browser, fromDisk, furnish, sleep, until, watched } from "./harness.mjs";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const PAGES = {
  overview: "", members: "", elections: "", log: "from=1", keys: "view=list&key=app%2Fconfig%2Fdatabase", sessions: "session=SESSION", locks: "lock=invoices", tail: "source=cluster", lens: "key=notes%2Freadme",
};
const number = (n) => new Intl.NumberFormat("en").format(n);

describe("the dashboard", { timeout: 1_200_000 }, () => {
  let cluster;
  let chrome;
  let sessions;
  const open = [];

  before(async () => {
    // Calmer than by default: a busy machine is no dead leader.
    cluster = await Cluster.start(["--election-timeout", "2s"]);
    chrome = await browser();
    ({ sessions } = await furnish(cluster));
  });
  after(async () => {
    await chrome?.close();
    await cluster?.stop();
  });
  // Also after a test that failed, all servers run again.
  afterEach(async () => {
    for (const context of open.splice(0)) await context.close();
    for (const id of cluster.ids) if (!cluster.processes.has(id)) cluster.run(id);
    for (const id of cluster.ids) await cluster.ready(id);
  });

  /** A page at a server, live. */
  async function look(id, hash = "", options = {}, others = []) {
    const context = await chrome.newContext({ viewport: { width: 1440, height: 900 }, ...options });
    open.push(context);
    await fromDisk(context);
    const { page, faults } = await watched(context, [cluster.url(id), ...others]);
    await page.goto(`${cluster.url(id)}/${hash}`);
    await live(page);
    return { page, faults, context };
  }

  const live = (page) => page.locator(".pill .badge.ok", { hasText: "live" }).waitFor();
  const go = (page, name) => page.evaluate((hash) => { location.hash = hash; }, `#/${name}?${PAGES[name].replace("SESSION", sessions[0])}`);
  const follower = async () => {
    const leader = await cluster.leader();
    return cluster.ids.find((id) => id !== leader);
  };
  const dialogOf = (page) => page.getByRole("dialog");
  const row = (page, table, text) => page.getByRole("grid", { name: table }).getByRole("row").filter({ hasText: text });

  test("each page opens by itself and tells what the API tells", async () => {
    const leader = await cluster.leader();
    const { page, faults } = await look(leader);
    const health = await page.locator(".health").innerText();
    const { term } = await cluster.get(leader, "/v1/cluster");
    // Checked against what the API says now: nothing is elected in a calm cluster meanwhile.
    assert.match(health, new RegExp(`3 of 3 voters, can lose 1, leader ${leader}, term ${term}`));
    assert.equal(await page.locator("article").count(), 3);
    assert.match(await page.locator("article.leads").innerText(), new RegExp(`Server ${leader}`));

    await go(page, "members");
    const view = await cluster.get(leader, "/v1/cluster");
    for (const member of view.members) await row(page, "Members", member.http).waitFor();
    assert.match(await page.locator(".facts").first().innerText(), new RegExp((await cluster.get(leader, "/v1/server")).identity));

    await go(page, "elections");
    await row(page, "Elections", `Server ${leader} is leader in term ${term}`).first().waitFor();
    await page.getByText(`Term ${term}, led by server ${leader}`).waitFor();

    await go(page, "log");
    await row(page, "Entries", "configuration").first().waitFor();
    await until("the page's commit index to be the API's", async () => {
      const text = await page.locator(".cursors").innerText();
      return text.includes(number((await cluster.get(leader, "/v1/server")).commit_index));
    });

    await go(page, "keys");
    const keys = (await cluster.get(leader, "/v1/kv?prefix=&limit=1000")).items;
    await page.getByText(`${keys.length} names`).waitFor();
    const { version } = await cluster.get(leader, "/v1/kv?key=app/config/database&meta");
    assert.match(await page.locator(".detail .facts").innerText(), new RegExp(`Version\\s+${version}\\b`));
    await page.locator(".detail pre", { hasText: '"pool":32' }).waitFor();

    await go(page, "sessions");
    await page.getByText(`${sessions.length} sessions`).waitFor();
    await row(page, "Sessions", "billing-worker-1").waitFor();
    await page.locator(".detail").getByRole("link", { name: "invoices" }).waitFor();

    await go(page, "locks");
    const { holders, queue } = await cluster.get(leader, "/v1/locks/invoices");
    await row(page, "Locks", number(holders[0].token)).waitFor();
    const waiting = await page.locator(".detail ol li a").allInnerTexts();
    assert.deepEqual(waiting, queue.map((w) => `Session ${w.session}`));
    await page.getByText(/Deadlock: session/).waitFor();

    await go(page, "tail");
    await row(page, "Events", `leads term ${term}`).or(row(page, "Events", "is leader")).first().waitFor();

    await go(page, "lens");
    for (const kind of ["linearizable", "lease", "sequential"]) {
      const one = page.locator(".lens .panel").filter({ has: page.getByRole("heading", { name: kind, exact: true }) });
      await one.getByText("with ünïcödé and 🐈.").waitFor();
      assert.match(await one.innerText(), /Served by\s+server \d/);
    }
    assert.deepEqual(faults, []);
  });

  test("nothing that somebody stored is markup", async () => {
    const { page, faults } = await look(1, "#/keys?view=list");
    await row(page, "Keys", "<script>window.pwned=1</script>").click();
    await page.locator(".detail pre", { hasText: "<img src=x onerror=window.pwned=1>" }).waitFor();
    await page.evaluate(() => { location.hash = "#/sessions"; });
    await row(page, "Sessions", "<b>bold</b>").waitFor();
    const { version } = await cluster.get(1, `/v1/kv?key=${encodeURIComponent("<script>window.pwned=1</script>")}&meta`);
    await page.evaluate((from) => { location.hash = `#/log?from=${from}`; }, version);
    await row(page, "Entries", "<script>").first().waitFor();
    assert.equal(await page.evaluate(() => window.pwned), undefined);
    assert.equal(await page.locator("main script, main img, main b:text-is('bold')").count(), 0);
    const policy = await page.evaluate(async () => (await fetch("/", { headers: { Accept: "text/html" } })).headers.get("content-security-policy"));
    assert.doesNotMatch(policy, /unsafe|\*|data:/);
    // The policy itself: what is written into the page does not run.
    await page.evaluate(() => {
      const script = document.createElement("script");
      try { script.textContent = "window.pwned = 2"; } catch { /* trusted types refuse it */ }
      document.body.append(script);
    });
    assert.equal(await page.evaluate(() => window.pwned), undefined);
    assert.deepEqual(faults.filter((f) => !/Content Security Policy|TrustedScript/.test(f)), []);
  });

  test("it follows a kill and an election", async () => {
    const leader = await cluster.leader();
    const id = cluster.ids.find((i) => i !== leader);
    const { page, faults } = await look(id);
    // Noted in the page itself, at the time that the health line changes: how fast this test looks does not count.
    await page.evaluate(() => {
      window.leaders = {};
      const note = () => {
        const leader = document.querySelector(".health")?.textContent.match(/leader (\d+)/)?.[1];
        if (leader) window.leaders[leader] ??= Date.now();
      };
      new MutationObserver(note).observe(document.body, { subtree: true, childList: true, characterData: true });
    });
    await cluster.kill(leader);
    const next = await cluster.leader();
    await page.locator(".health", { hasText: `leader ${next}` }).waitFor();
    const shown = await page.evaluate((leads) => window.leaders[leads], next);
    const { events } = await cluster.get(id, "/v1/cluster/events");
    const told = events.findLast((e) => (e.type === "leader" || e.role === "leader") && e.member === next);
    console.log(`# the page showed the new leader ${shown - told.time_ms} ms after its server told of it`);
    // By one machine's clock. How long the election itself took is up to the election timeout.
    assert.ok(shown - told.time_ms < 2000, "the page follows an election within two seconds");
    await page.evaluate(() => { location.hash = "#/elections"; });
    await until("the page to tell what the API tells", async () => {
      const { term, leader: leads } = await cluster.get(id, "/v1/cluster");
      const shown = await page.locator("main").innerText();
      return shown.includes(`Term ${term}, led by server ${leads}`) && new RegExp(`Server ${leads} (leads term ${term}|is leader in term ${term})`).test(shown);
    });
    assert.deepEqual(faults, []);
    // The leader's page tells that one is silent.
    const other = await look(await cluster.leader());
    await other.page.getByText(`Server ${leader} has not been heard`).waitFor();
    await other.page.locator(".health", { hasText: "2 of 3 voters, can lose 0" }).waitFor();
    cluster.run(leader);
    await other.page.locator(".health", { hasText: "3 of 3 voters, can lose 1" }).waitFor();
    assert.deepEqual(other.faults, []);
  });

  test("a key is edited, and what somebody else wrote meanwhile is not lost", async () => {
    await cluster.put("edit/me", "one\ntwo\nthree");
    const { page, faults } = await look(await follower(), "#/keys?prefix=edit%2F&key=edit%2Fme");
    const detail = page.locator(".detail");
    await detail.getByRole("button", { name: "Edit" }).click();
    await detail.getByLabel("Value").fill("one\n2\nthree");
    await detail.getByRole("button", { name: "Save" }).click();
    await detail.locator("pre", { hasText: "one\n2\nthree" }).waitFor();
    assert.equal((await cluster.call(1, "GET", "/v1/kv?key=edit/me")).text, "one\n2\nthree");

    await detail.getByRole("button", { name: "Edit" }).click();
    await detail.getByLabel("Value").fill("one\n2\nthree\nfour");
    await cluster.put("edit/me", "zero\n2\nthree");
    await detail.getByRole("button", { name: "Save" }).click();
    const dialog = page.getByRole("dialog", { name: "Somebody else changed it meanwhile" });
    await dialog.locator(".out", { hasText: "− zero" }).waitFor();
    await dialog.locator(".in", { hasText: "+ four" }).waitFor();
    assert.equal((await cluster.call(1, "GET", "/v1/kv?key=edit/me")).text, "zero\n2\nthree", "nothing was overwritten");
    await dialog.getByRole("button", { name: /Keep mine/ }).click();
    await detail.getByRole("button", { name: "Save" }).click();
    await detail.getByRole("button", { name: "Edit" }).waitFor();
    assert.equal((await cluster.call(1, "GET", "/v1/kv?key=edit/me")).text, "one\n2\nthree\nfour");

    await detail.getByRole("button", { name: "Delete" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
    await page.getByText("Key edit/me is deleted.").waitFor();
    assert.equal((await cluster.call(1, "GET", "/v1/kv?key=edit/me")).status, 404);
    // A 412 and a 404 are answers, but Chromium tells its console of them.
    assert.deepEqual(faults.filter((f) => !/status of (412|404)/.test(f)), []);
  });

  test("actions are carried out, and can be copied as a command that does the same", async () => {
    const session = await cluster.session("to be ended", "10m");
    const next = await cluster.session("next in line", "10m");
    await cluster.lock("deploy", session);
    await cluster.lock("deploy", next, "&queue");
    const { page, faults, context } = await look(await follower(), "#/locks?lock=deploy");
    await context.grantPermissions(["clipboard-read", "clipboard-write"]);
    await page.locator(".detail").getByRole("button", { name: "Revoke" }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByText(`Session ${next} comes next.`).waitFor();
    await dialog.getByRole("button", { name: "Copy as curl" }).click();
    await dialog.getByText("Copied").waitFor();
    const copied = await page.evaluate(() => navigator.clipboard.readText());
    assert.equal(copied, `curl -X DELETE ${new URL(page.url()).origin}/v1/locks/deploy/holders/${session}`);
    await dialog.getByRole("button", { name: "Revoke" }).click();
    await page.getByText(`Lock deploy was taken from session ${session}.`).waitFor();
    assert.equal((await cluster.get(1, "/v1/locks/deploy")).holders[0].session, next);

    await page.evaluate((s) => { location.hash = `#/sessions?session=${s}`; }, next);
    await page.locator(".detail").getByRole("button", { name: "Expire" }).click();
    await dialog.getByText("1 lock and 0 keys").waitFor();
    await dialog.getByRole("link", { name: "deploy" }).waitFor();
    await dialog.getByRole("button", { name: "Expire it" }).click();
    await page.getByText(`Session ${next} is over.`).waitFor();
    assert.equal((await cluster.call(1, "GET", `/v1/sessions/${next}`)).status, 410);
    assert.deepEqual(faults.filter((f) => !/status of (410|404)/.test(f)), []);
  });

  test("a snapshot is taken, and what it covers can be compacted", async () => {
    const { page, faults } = await look(await cluster.leader(), "#/log");
    const dialog = dialogOf(page);
    await page.getByRole("button", { name: "Snapshot" }).click();
    await dialog.getByRole("button", { name: "Take it" }).click();
    await page.getByText(/A snapshot of entry [\d,]+ is durable/).waitFor();
    await page.locator(".cursors", { hasText: "snapshot" }).waitFor();
    const id = Number(new URL(page.url()).port) - cluster.first + 1;
    const { snapshot } = await cluster.get(id, "/v1/server");
    await until("the snapshot that the API tells", async () => (await page.locator(".cursors").innerText()).includes(number(snapshot.index)));
    for (const kind of ["minor", "major"]) {
      await page.getByRole("button", { name: `Compact, ${kind}` }).click();
      await dialog.getByRole("button", { name: "Compact", exact: true }).click();
      await page.getByText(/Compacted: .* after|Nothing was worth it/).waitFor();
    }
    const { segments } = await cluster.get(id, "/v1/log");
    const shown = page.getByRole("grid", { name: "Segments" });
    assert.equal(Number(await shown.getAttribute("aria-rowcount")), segments.length + 1);
    const [first] = segments;
    const span = first.last_index - first.first_index + 1;
    assert.equal(first.live + first.released + first.holes, span, "each index is one of the kinds that are drawn");
    assert.deepEqual(faults, []);
  });

  test("changes of the members show the quorum before and after, and unsafe ones are refused", async () => {
    const leader = await cluster.leader();
    const { page } = await look(leader, "#/members");
    const other = cluster.ids.find((id) => id !== leader);
    await page.getByLabel(`Change server ${other}`).selectOption("passive");
    const dialog = page.getByRole("dialog");
    assert.match(await dialog.getByRole("table").innerText(), /Voters\s+3\s+2[^]*Majority\s+2\s+2[^]*Can lose\s+1\s+0/);
    await dialog.getByText("one more failure stops the cluster").waitFor();
    await dialog.getByRole("button", { name: "Cancel" }).click();
    const third = cluster.ids.find((id) => id !== leader && id !== other);
    await cluster.kill(third);
    await page.locator(".health", { hasText: "2 of 3 voters" }).waitFor();
    await page.getByLabel(`Change server ${other}`).selectOption("remove");
    await dialog.getByText("the cluster would stop").waitFor();
    assert.equal(await dialog.getByRole("button", { name: "Remove" }).isDisabled(), true);
    await dialog.getByRole("button", { name: "Cancel" }).click();
    cluster.run(third);
    await page.locator(".health", { hasText: "3 of 3 voters" }).waitFor();

    await page.getByLabel(`Change server ${other}`).selectOption("lead");
    await dialog.getByRole("button", { name: "Transfer" }).click();
    await page.locator(".health", { hasText: `leader ${other}` }).waitFor();
    assert.equal(await cluster.leader(), other);

    // Its page now: a voter becomes passive, and a voter again.
    const second = await look(other, "#/members");
    for (const [type, voters] of [["passive", "2 of 2"], ["active", "3 of 3"]]) {
      await second.page.getByLabel(`Change server ${leader}`).selectOption(type);
      await dialogOf(second.page).getByRole("button", { name: "Change" }).click();
      await second.page.locator(".health", { hasText: `${voters} voters` }).waitFor();
      const { members } = await cluster.get(other, "/v1/cluster");
      assert.equal(members.find((m) => m.id === leader).type, type);
    }
    assert.deepEqual(second.faults, []);
  });

  test("it goes on through another server when its own is gone", async () => {
    const id = await follower();
    const others = cluster.ids.filter((i) => i !== id).map((i) => cluster.url(i));
    const { page, faults } = await look(id, "#/keys?prefix=app%2F&key=app%2Fconfig%2Fdatabase", {}, others);
    await page.getByLabel("Change to dark").click();
    await cluster.kill(id);
    await page.waitForURL((url) => others.includes(url.origin));
    await live(page);
    await page.getByText(`Server ${id} did not answer.`).waitFor();
    await page.locator(".detail pre", { hasText: '"pool":32' }).waitFor();
    assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), "dark", "what was chosen goes along");
    // Chromium itself tells the console of connections that fail.
    assert.deepEqual(faults.filter((f) => !/ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED_ENCODING|ERR_CONNECTION_RESET|ERR_EMPTY_RESPONSE/.test(f)), []);
  });

  test("whoever is writing is asked before the page moves", async () => {
    const id = await follower();
    const others = cluster.ids.filter((i) => i !== id).map((i) => cluster.url(i));
    const { page } = await look(id, "#/keys?key=notes%2Freadme", {}, others);
    await page.locator(".detail").getByRole("button", { name: "Edit" }).click();
    await page.locator(".detail").getByLabel("Value").fill("not yet saved");
    await cluster.kill(id);
    await page.getByText("What you are writing is not saved").waitFor();
    assert.equal(await page.locator(".detail").getByLabel("Value").inputValue(), "not yet saved");
    await page.getByRole("link", { name: "Go on there" }).click();
    await page.waitForURL((url) => others.includes(url.origin));
    await live(page);
  });

  test("without a quorum it shows its own server's view, and nothing old as live", async () => {
    const [id] = cluster.ids;
    const { page } = await look(id);
    for (const other of cluster.ids.filter((i) => i !== id)) await cluster.kill(other);
    await page.getByText("No quorum that this server knows of.").waitFor();
    await page.locator(".health", { hasText: "nothing can be written" }).waitFor();
    assert.equal(await page.locator("article.stale").count(), 2, "the others are as last known");
    assert.equal(await page.locator("article .badge.ok").count(), 1, "only the server itself is told as it is");
    // Its server stops too: nothing is left that is live.
    cluster.signal(id, "SIGSTOP");
    await page.getByText("Not live.").waitFor();
    await page.locator(".is-stale").waitFor();
    assert.equal(await page.locator(".health .badge.off").count(), 1);
    assert.equal(await page.locator("article .badge.ok").count(), 0);
    cluster.signal(id, "SIGCONT");
    await page.getByText("Not live.").waitFor({ state: "detached" });
  });

  test("where streams do not get through, it polls", async () => {
    const context = await chrome.newContext();
    open.push(context);
    await fromDisk(context);
    const page = await context.newPage();
    await page.route("**/v1/dashboard", (route) => (route.request().headers().accept.includes("event-stream") ? route.abort() : route.continue()));
    await page.goto(cluster.url(1));
    await page.locator(".pill", { hasText: "polling" }).waitFor();
    const { json } = await cluster.call(1, "PUT", "/v1/kv?key=polled", "x");
    await page.evaluate(() => { location.hash = "#/members"; });
    await until("the applied index", async () => Number((await page.locator(".facts").first().innerText()).match(/Applied\s+([\d,]+)/)[1].replaceAll(",", "")) >= json.index);
  });

  test("it is held while paused", async () => {
    const { page, faults } = await look(1, "#/members");
    await page.getByRole("button", { name: "Pause" }).click();
    await page.getByText("Paused by you.").waitFor();
    const shown = async () => (await page.locator(".facts").first().innerText()).match(/Applied\s+([\d,]+)/)[1];
    const before_ = await shown();
    const { index } = await cluster.put("while/paused", "x");
    await sleep(1500);
    assert.equal(await shown(), before_);
    await page.getByRole("button", { name: "Resume" }).click();
    await until("the new index", async () => Number((await shown()).replaceAll(",", "")) >= index);
    assert.deepEqual(faults, []);
  });

  test("it is used by keyboard alone", async () => {
    const { page, faults } = await look(1);
    await page.keyboard.press("/");
    await page.getByRole("dialog", { name: "Search" }).waitFor();
    await page.keyboard.type("keys");
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { name: "Keys", level: 1 }).waitFor();
    await page.getByRole("grid", { name: "Keys" }).focus();
    for (const key of ["ArrowDown", "ArrowDown", "Enter"]) await page.keyboard.press(key);
    await page.getByRole("button", { name: "app", exact: true }).waitFor();
    await page.keyboard.press("/");
    await page.getByRole("dialog", { name: "Search" }).waitFor();
    await page.keyboard.press("Escape");
    assert.equal(await page.getByRole("dialog").count(), 0);
    assert.deepEqual(faults, []);
  });

  test("key changes are tailed, each once", async () => {
    const { page, faults } = await look(2, "#/tail?source=keys&prefix=tailed%2F");
    await until("the tail's session", async () => (await cluster.get(2, "/v1/sessions?limit=1000")).sessions.some((s) => s.name === "dashboard: live tail"));
    await until("the first event", async () => {
      await cluster.put("tailed/first", "x");
      return page.getByRole("gridcell", { name: "tailed/first" }).count();
    });
    for (let i = 0; i < 20; i += 1) await cluster.put(`tailed/${i}`, "x");
    await row(page, "Events", "tailed/19").waitFor();
    const texts = await page.getByRole("gridcell", { name: /^tailed\/\d+$/ }).allInnerTexts();
    assert.deepEqual(texts, [...Array(20).keys()].map((i) => `tailed/${i}`));
    assert.equal(await page.locator(".gap").count(), 0);
    await page.evaluate(() => { location.hash = "#/overview"; });
    await until("the tail's session to be over", async () => !(await cluster.get(2, "/v1/sessions?limit=1000")).sessions.some((s) => s.name === "dashboard: live tail"));
    assert.deepEqual(faults, []);
  });

  for (const colorScheme of ["light", "dark"]) {
    test(`axe finds nothing on any page, ${colorScheme}`, async () => {
      const { page } = await look(await cluster.leader(), "", { colorScheme, bypassCSP: true });
      await page.evaluate(AXE);
      for (const name of Object.keys(PAGES)) {
        await go(page, name);
        await page.waitForFunction((id) => document.querySelector(".side [aria-current]")?.getAttribute("href")?.includes(id) && document.querySelector("main h1"), name);
        await sleep(700);
        const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
        const told = violations.map((v) => `${name}: ${v.id}: ${v.help}: ${v.nodes.map((n) => n.html.slice(0, 200)).slice(0, 3).join(" | ")}`);
        assert.deepEqual(told, []);
      }
      await page.keyboard.press("/");
      await page.getByRole("dialog", { name: "Search" }).waitFor();
      const { violations } = await page.evaluate(() => window.axe.run(document));
      assert.deepEqual(violations.map((v) => v.id), []);
    });
  }

  test("nothing is wider than the screen, from 360 px to 4K", async () => {
    for (const viewport of [{ width: 360, height: 740 }, { width: 3840, height: 2160 }]) {
      const { page } = await look(1, "", { viewport });
      for (const name of Object.keys(PAGES)) {
        await go(page, name);
        await page.waitForFunction(() => document.querySelector("main h1"));
        await sleep(400);
        const over = await page.evaluate(() => [document.documentElement, document.querySelector("main")].map((e) => e.scrollWidth - e.clientWidth));
        assert.deepEqual(over, [0, 0], `${name} at ${viewport.width}`);
      }
    }
  });

  test("100,000 keys and 5,000 sessions are scrolled through", { timeout: 600_000 }, async () => {
    const id = await cluster.leader();
    for (let batch = 0; batch < 100; batch += 1) {
      const commands = [...Array(1000).keys()].map((i) => ({ command: { put: { key: `many/${String(batch * 1000 + i).padStart(6, "0")}`, value: "v" } } }));
      const { status, text } = await cluster.call(id, "POST", "/v1/commands", JSON.stringify(commands));
      assert.equal(status, 200, text.slice(0, 300));
    }
    let made = 0;
    await Promise.all([...Array(32).keys()].map(async () => {
      while (made < 5000) {
        made += 1;
        await cluster.session(`crowd ${made}`, "1h");
      }
    }));
    const { page, faults } = await look(id, "#/keys?prefix=many%2F&view=list");
    const grid = page.getByRole("grid", { name: "Keys" });
    await row(page, "Keys", "many/000000").waitFor();
    // To the end of what is loaded, again and again: each page follows when the one before is seen.
    await until("a deep page", async () => {
      await grid.evaluate((g) => { g.scrollTop = g.scrollHeight; });
      return (await grid.getByRole("row").last().innerText()).match(/many\/(\d+)/)?.[1] >= "019000";
    });
    const rows = await grid.getByRole("row").count();
    assert.ok(rows < 120, `${rows} rows are in the page`);
    const slowest = await grid.evaluate(async (g) => {
      let worst = 0;
      for (let i = 0; i < 60; i += 1) {
        const start = performance.now();
        g.scrollTop = (g.scrollHeight * i) / 60;
        await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
        worst = Math.max(worst, performance.now() - start);
      }
      return worst;
    });
    await page.evaluate(() => { location.hash = "#/sessions"; });
    await page.getByText(/^5,\d\d\d sessions$/).waitFor();
    const table = page.getByRole("grid", { name: "Sessions" });
    await table.evaluate((g) => { g.scrollTop = g.scrollHeight; });
    await row(page, "Sessions", "crowd").last().waitFor();
    const count = await table.getByRole("row").count();
    assert.ok(count < 120, `${count} rows are in the page`);
    console.log(`# the slowest of 60 jumps through the keys took ${slowest.toFixed(0)} ms`);
    assert.deepEqual(faults, []);
  });
});
