// What is known, and how fresh it is: one stream from the server that this page was loaded from; polls where streams do not
// get through; and another member's page when that server is gone.

import { Problem, ask } from "./api.js";
import { href, route } from "./route.js";

/** @typedef {"connecting" | "live" | "polling" | "paused" | "asleep" | "lost"} Phase */

/** The longest history and feed that are kept here. */
const POINTS = 600;
const EVENTS = 2000;

/** A stream tells something each second: after this it is not live any more. */
export const STALE = 2500;
/** And after this it is taken for dead. */
const DEAD = 5000;
/** How long a hidden page still listens. */
const SLEEP = 30000;
/** How long another member may take to say that it lives. */
const PROBE = 1200;
/** How often a server that does not answer is asked again. */
const RETRY = 700;

export const live = {
  /** @type {Phase} */
  phase: "connecting",
  /** @type {any} server, cluster and checks, as of `heard` */
  state: null,
  /** @type {any[]} */
  events: [],
  /** @type {any[]} */
  points: [],
  /** By performance.now(). */
  heard: 0,
  /** This server's clock minus this machine's, in milliseconds. */
  skew: 0,
  /** Server that was moved away from. @type {string | null} */
  movedFrom: null,
  /** Where to go when this server is gone, while something here is unsaved. @type {string | null} */
  offer: null,
  /** What this page holds that would be lost; nobody moves while it is there. */
  unsaved: false,
};

/** @type {Set<() => void>} */
const listeners = new Set();
let scheduled = false;

/** Tells those who show it, at most once a frame. */
function changed() {
  if (scheduled) return;
  scheduled = true;
  setTimeout(() => {
    scheduled = false;
    for (const listener of [...listeners]) listener();
  }, 16);
}

/** @param {() => void} listener */
export function subscribe(listener) {
  listeners.add(listener);
  return () => void listeners.delete(listener);
}

/** How old what is shown is, in milliseconds. */
export function age() {
  return performance.now() - live.heard;
}

/** Whether what is shown is as it is now. */
export function isFresh() {
  return (live.phase === "live" || live.phase === "polling") && age() < STALE;
}

/** Now, by the clock of the server. */
export function serverNow() {
  return Date.now() + live.skew;
}

/** RFC 7396. @param {any} target @param {any} patch @returns {any} */
export function merge(target, patch) {
  if (patch === null || typeof patch !== "object" || Array.isArray(patch)) return patch;
  const merged = target !== null && typeof target === "object" && !Array.isArray(target) ? { ...target } : {};
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) delete merged[name];
    else merged[name] = merge(merged[name], value);
  }
  return merged;
}

/** @type {EventSource | null} */
let stream = null;
/** Counts beginnings: what an earlier one still has under way is void. */
let life = 0;
let streamsFailed = 0;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let sleeping;

/** @param {any} snapshot */
function whole(snapshot) {
  live.state = snapshot.state;
  live.heard = performance.now();
}

/** @param {any[]} events */
function addEvents(events) {
  const last = live.events.at(-1)?.id ?? 0;
  live.events.push(...events.filter((e) => e.id > last));
  live.events.splice(0, live.events.length - EVENTS);
}

/** @param {any[]} points */
function addPoints(points) {
  const last = live.points.at(-1)?.time_ms ?? 0;
  live.points.push(...points.filter((p) => p.time_ms > last));
  live.points.splice(0, live.points.length - POINTS);
  const newest = points.at(-1);
  if (newest) live.skew = newest.time_ms - Date.now();
}

/** What came before the stream, or while there was none. @param {number} mine */
async function catchUp(mine) {
  const after = live.points.at(-1)?.time_ms ?? 0;
  const [history, feed] = await Promise.allSettled([
    ask({ path: `/v1/server/history?after=${after}` }),
    feedBehind(live.events.at(-1)?.id),
  ]);
  if (mine !== life) return;
  if (history.status === "fulfilled") {
    const newer = live.points.filter((p) => p.time_ms > after);
    live.points = live.points.filter((p) => p.time_ms <= after);
    addPoints(history.value.json.points);
    addPoints(newer);
  }
  if (feed.status === "fulfilled") {
    const known = new Set(feed.value.map((/** @type {any} */ e) => e.id));
    live.events = [...live.events.filter((e) => !known.has(e.id)), ...feed.value].sort((a, b) => a.id - b.id);
    live.events.splice(0, live.events.length - EVENTS);
  }
  changed();
}

/** @param {number | undefined} after @returns {Promise<any[]>} */
async function feedBehind(after) {
  try {
    const path = after === undefined ? "/v1/cluster/events" : `/v1/cluster/events?after=${after}`;
    return (await ask({ path })).json.events;
  } catch (e) {
    // The server was started anew, and its numbers with it.
    if (after !== undefined && e instanceof Problem && e.code === "feed_trimmed") return feedBehind(undefined);
    throw e;
  }
}

/** Begins to listen. */
function connect() {
  life += 1;
  const mine = life;
  stream?.close();
  const source = new EventSource("/v1/dashboard");
  stream = source;
  let begun = false;
  source.addEventListener("snapshot", (message) => {
    if (mine !== life) return;
    begun = true;
    streamsFailed = 0;
    whole(JSON.parse(message.data));
    live.phase = "live";
    live.offer = null;
    void catchUp(mine);
    changed();
  });
  source.addEventListener("delta", (message) => {
    if (mine !== life) return;
    const { patch, events, points, gap } = JSON.parse(message.data);
    if (patch) live.state = merge(live.state, patch);
    if (events) addEvents(events);
    if (points) addPoints(points);
    if (gap) void catchUp(mine);
    live.heard = performance.now();
    live.phase = "live";
    changed();
  });
  source.addEventListener("error", () => {
    if (mine !== life) return;
    source.close();
    if (!begun) streamsFailed += 1;
    void lost();
  });
}

function stop() {
  life += 1;
  stream?.close();
  stream = null;
}

/** The stream is over: perhaps only the stream, perhaps the server. */
async function lost() {
  stop();
  const mine = life;
  if (live.phase !== "polling") live.phase = live.state ? "lost" : "connecting";
  changed();
  for (let tries = 0; mine === life; tries += 1) {
    if (await poll(mine, tries === 0 ? PROBE : 3 * PROBE)) {
      if (streamsFailed < 2) return connect();
      return polls(mine);
    }
    if (mine !== life) return;
    if (live.phase === "polling") live.phase = "lost";
    changed();
    if (tries > 0 && (await moved(mine))) return;
    await new Promise((done) => setTimeout(done, RETRY));
  }
}

/** Asks once. @param {number} mine @param {number} patience */
async function poll(mine, patience) {
  try {
    const { json } = await ask({ path: "/v1/dashboard" }, { patience });
    if (mine !== life) return true;
    whole(json);
    return true;
  } catch {
    return false;
  }
}

/** Where something between here and the server holds streams back. @param {number} mine */
async function polls(mine) {
  live.phase = "polling";
  for (let round = 1; mine === life; round += 1) {
    void catchUp(mine);
    changed();
    await new Promise((done) => setTimeout(done, 1000));
    if (mine !== life) return;
    if (round % 30 === 0) {
      streamsFailed = 1;
      return connect();
    }
    if (!(await poll(mine, DEAD))) return void lost();
  }
}

/** The pages of the other members, the leader's first. @returns {{id: number, url: string}[]} */
export function others() {
  const { cluster, server } = live.state || {};
  if (!cluster || location.protocol !== "http:") return [];
  const members = cluster.members.filter((/** @type {any} */ m) => m.id !== server.id && m.http);
  members.sort((/** @type {any} */ a, /** @type {any} */ b) => Number(b.id === cluster.leader) - Number(a.id === cluster.leader));
  return members.map((/** @type {any} */ m) => ({ id: m.id, url: `http://${m.http}/` }));
}

/** The same page, seen through another member. @param {string} url @param {number} [from] */
export function pageAt(url, from) {
  const { page, params } = route();
  return url + href(page, { ...Object.fromEntries(params), left: from === undefined ? null : String(from) });
}

/** Looks for another member that lives, and goes there. @param {number} mine */
async function moved(mine) {
  const from = live.state?.server.id;
  const alive = others().map(async ({ url }) => {
    // All that may be asked across origins is whether there is an answer.
    await fetch(`${url}livez`, { mode: "no-cors", cache: "no-store", signal: AbortSignal.timeout(PROBE) });
    return url;
  });
  const url = await Promise.any(alive).catch(() => null);
  if (mine !== life || url === null) return false;
  if (live.unsaved) {
    live.offer = pageAt(url, from);
    changed();
    return false;
  }
  location.replace(pageAt(url, from));
  return true;
}

/** @param {boolean} paused */
export function pause(paused) {
  if (paused) {
    stop();
    live.phase = "paused";
  } else {
    live.phase = "connecting";
    connect();
  }
  changed();
}

/** Begins, and watches over it from then on. */
export function start() {
  const { params } = route();
  live.movedFrom = params.get("left");
  connect();
  setInterval(() => {
    if (live.phase === "live" && age() > DEAD) void lost();
    changed();
  }, 500);
  document.addEventListener("visibilitychange", () => {
    clearTimeout(sleeping);
    if (document.hidden) {
      sleeping = setTimeout(() => {
        if (live.phase === "paused") return;
        stop();
        live.phase = "asleep";
      }, SLEEP);
    } else if (live.phase === "asleep") {
      live.phase = "connecting";
      connect();
    }
  });
  addEventListener("beforeunload", (event) => {
    if (live.unsaved) event.preventDefault();
  });
}
