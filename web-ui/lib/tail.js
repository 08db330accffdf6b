// Events as they come: of this server's feed, of keys (through a session of its own), of the log. What is missing is said.

import { ask, get, named } from "./api.js";
import { isOfElections, sentence } from "./events.js";

/** Rows that are kept. */
export const KEPT = 2000;

/**
 * @typedef {object} Row
 * @property {string} id
 * @property {number | null} time
 * @property {string} what
 * @property {string} text
 * @property {string} index
 * @property {any} data
 */

/** @param {any} e @returns {Row} */
export function feedRow(e) {
  return { id: String(e.id), time: e.time_ms, what: isOfElections(e) ? e.type.replaceAll("_", " ") : e.type, text: sentence(e), index: `term ${e.term}`, data: e };
}

/** @param {any} entry @returns {Row} */
function entryRow(entry) {
  const text = entry.command ? JSON.stringify(entry.command) : `${entry.bytes} bytes`;
  return { id: String(entry.index), time: entry.time_ms, what: entry.kind.replaceAll("_", " "), text, index: String(entry.index), data: entry };
}

/** @param {string} id @param {string} text @returns {Row} */
export function gapRow(id, text) {
  return { id: `gap ${id}`, time: null, what: "gap", text, index: "", data: null };
}

/** How long a session of a tail outlives its page. */
const TIMEOUT = "15s";

/**
 * Changes of keys that begin so, through a session, a watch and a stream; until it is stopped.
 * @param {string} prefix percent-decoded text
 * @param {(rows: Row[]) => void} onRows @param {(text: string) => void} onEnd @param {AbortSignal} signal
 */
export async function watchKeys(prefix, onRows, onEnd, signal) {
  const json = { "Content-Type": "application/json" };
  const begun = await ask({ method: "POST", path: "/v1/sessions", headers: json, body: JSON.stringify({ timeout: TIMEOUT, name: "dashboard: live tail" }) });
  const { session, keep_alive_ms: every } = begun.json;
  const over = () => void ask({ method: "DELETE", path: `/v1/sessions/${session}` }).catch(() => {});
  if (signal.aborted) return over();
  await ask({ method: "POST", path: `/v1/sessions/${session}/watches`, headers: json, body: JSON.stringify({ prefix, values: false }) });
  let seen = 0;
  const source = new EventSource(`/v1/sessions/${session}/events`);
  const timer = setInterval(() => {
    const body = JSON.stringify(seen ? { event_index: seen } : {});
    ask({ method: "POST", path: `/v1/sessions/${session}/keep-alive`, headers: json, body }).catch(() => {});
  }, every);
  const stop = () => {
    clearInterval(timer);
    source.close();
    over();
  };
  signal.addEventListener("abort", stop, { once: true });
  const take = (/** @type {MessageEvent} */ message) => {
    const batch = JSON.parse(message.data);
    if (batch.index === undefined || batch.index <= seen) return;
    const rows = [];
    // Each batch names the one before it: what was missed is known.
    if (seen && batch.previous !== seen) rows.push(gapRow(String(batch.index), `changes between ${seen} and ${batch.previous} were missed`));
    seen = batch.index;
    batch.events.forEach((/** @type {any} */ e, /** @type {number} */ i) => {
      const name = e.key === undefined ? named(e, "lock") : named(e, "key");
      rows.push({ id: `${batch.index} ${i}`, time: Date.now(), what: e.type.replaceAll("_", " "), text: name.text, index: String(batch.index), data: e });
    });
    onRows(rows);
  };
  source.addEventListener("events", take);
  for (const type of ["session_expired", "superseded", "events_gap"]) {
    source.addEventListener(type, () => {
      clearInterval(timer);
      source.close();
      onEnd(`The tail's session is over (${type.replaceAll("_", " ")}).`);
    });
  }
}

/**
 * Entries of this server's log from its end on; where they come faster than they can be shown, the next ones are left out.
 * @param {(rows: Row[]) => void} onRows @param {AbortSignal} signal @param {() => boolean} wanted
 */
export async function followLog(onRows, signal, wanted) {
  let next = Math.max(1, (await get("/v1/server")).log.last_index - 50);
  while (!signal.aborted) {
    if (wanted()) {
      const page = await get(`/v1/log/entries?from=${next}&limit=200`);
      if (signal.aborted) return;
      const rows = page.entries.map(entryRow);
      if (page.entries.length) next = page.entries.at(-1).index + 1;
      const { log } = await get("/v1/server");
      if (log.last_index - next > 1000) {
        rows.push(gapRow(String(next), `entries ${next} to ${log.last_index - 200} came too fast and are left out`));
        next = log.last_index - 199;
      }
      if (rows.length) onRows(rows);
    }
    await new Promise((done) => setTimeout(done, 1000));
  }
}
