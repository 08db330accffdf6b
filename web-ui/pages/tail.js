// What happens, as it happens.

import { clock, count, visible } from "../lib/format.js";
import { html, useEffect, useMemo, useRef, useState } from "../lib/html.js";
import { Problem } from "../lib/api.js";
import { isFresh } from "../lib/live.js";
import { Choice, Curl, Empty, Panel, Trouble } from "../lib/parts.js";
import { Table } from "../lib/table.js";
import { KEPT, feedRow, followLog, gapRow, watchKeys } from "../lib/tail.js";
import { change, route } from "../lib/route.js";

/** @type {[string, string][]} */
const SOURCES = [["cluster", "Cluster"], ["keys", "Keys"], ["log", "Log entries"]];

/** @param {{live: typeof import("../lib/live.js").live, fresh: boolean}} props */
export default function Tail({ live }) {
  const { params } = route();
  const source = params.get("source") || "cluster";
  const prefix = params.get("prefix") || "";
  const [typed, type] = useState(prefix);
  const [filter, setFilter] = useState("");
  const [held, setHeld] = useState(false);
  const [open, setOpen] = useState(/** @type {any} */ (null));
  const other = useTail(source, prefix);
  const feed = useMemo(() => (source === "cluster" ? gaps(live.events) : []), [source, live.events.length, live.events.at(-1)?.id]);
  const all = source === "cluster" ? feed : other.rows;
  const kept = useRef(all);
  if (!held) kept.current = all;
  const shown = kept.current.filter((/** @type {any} */ r) => !filter || r.what === "gap" || `${r.what} ${r.text} ${r.index}`.toLowerCase().includes(filter.toLowerCase()));
  const calls = {
    cluster: { path: "/v1/cluster/events", headers: { Accept: "text/event-stream" } },
    keys: { method: "POST", path: "/v1/sessions", headers: { "Content-Type": "application/json" }, body: '{"timeout":"15s"}' },
    log: { path: "/v1/log/entries?limit=200" },
  };
  const columns = [
    { title: "Time", width: "clamp(5.6rem, 28vw, 7.5rem)", cell: (/** @type {any} */ r) => (r.time ? html`<time>${clock(r.time)}</time>` : "") },
    { title: source === "cluster" ? "Term" : "Index", width: "6rem", align: /** @type {"end"} */ ("end"), from: 480, cell: (/** @type {any} */ r) => r.index },
    { title: "What", width: "clamp(4.8rem, 20vw, 9rem)", cell: (/** @type {any} */ r) => html`<span class=${r.what === "gap" ? "gap" : "what"}>${r.what === "gap" ? "⋯ gap" : r.what}</span>` },
    { title: "In words", cell: (/** @type {any} */ r) => html`<span class="one-line name">${visible(r.text)}</span>` },
  ];
  const hint = `${count(shown.length, "line")}, the last ${KEPT.toLocaleString("en")} are kept${held ? `; held, ${all.length - kept.current.length >= 0 ? all.length - kept.current.length : 0} new` : ""}`;
  return html`<h1>Live tail</h1>
    <${Panel} title="As it happens" hint=${hint} class="grow" actions=${html`<button type="button" aria-pressed=${held} onClick=${() => setHeld(!held)}>${held ? "Go on" : "Hold"}</button><${Curl} call=${calls[/** @type {"log"} */ (source)]} />`}>
      <form class="bar-form" onSubmit=${(/** @type {Event} */ e) => { e.preventDefault(); change({ prefix: typed }); }}>
        <${Choice} label="Source" value=${source} options=${SOURCES} onChange=${(/** @type {string} */ v) => change({ source: v })} />
        ${source === "keys" && html`<label class="field"><span class="offscreen">Keys that begin with</span><input value=${typed} placeholder="prefix, then Enter" onInput=${(/** @type {any} */ e) => type(e.currentTarget.value)} spellcheck=${false} /></label>`}
        <label class="field grow"><span class="offscreen">Only lines with</span><input value=${filter} placeholder="only lines with…" onInput=${(/** @type {any} */ e) => setFilter(e.currentTarget.value)} spellcheck=${false} /></label>
      </form>
      <${Trouble} problem=${other.problem} />
      ${other.end && html`<p class="caution">${other.end}</p>`}
      <${Table} label="Events" columns=${columns} rows=${shown} rowKey=${(/** @type {any} */ r) => r.id} follow=${!held} onOpen=${setOpen} selected=${open?.id ?? null} height=${28}
        empty=${html`<${Empty}>Nothing yet. It appears here when it happens.</${Empty}>`} />
      ${open && html`<pre class="entry" tabindex="0" role="region" aria-label="The event">${JSON.stringify(open.data, null, 2)}</pre>`}
    </${Panel}>`;
}

/** The feed, and what of it is missing: its numbers have no gaps. @param {any[]} events */
function gaps(events) {
  const rows = [];
  let last = 0;
  for (const e of events) {
    if (last && e.id !== last + 1) rows.push(gapRow(String(e.id), `${e.id - last - 1 < 1e6 ? e.id - last - 1 : "some"} events were not kept, or the server was started anew`));
    rows.push(feedRow(e));
    last = e.id;
  }
  return rows.slice(-KEPT);
}

/** @param {string} source @param {string} prefix */
function useTail(source, prefix) {
  const [state, setState] = useState(/** @type {any} */ ({ rows: [], problem: null, end: "" }));
  useEffect(() => {
    setState({ rows: [], problem: null, end: "" });
    const stop = new AbortController();
    const add = (/** @type {any[]} */ rows) => {
      if (!stop.signal.aborted) setState((/** @type {any} */ s) => ({ ...s, rows: [...s.rows, ...rows].slice(-KEPT) }));
    };
    const fail = (/** @type {any} */ e) => {
      if (!stop.signal.aborted) setState((/** @type {any} */ s) => ({ ...s, problem: e instanceof Problem ? e : new Problem(0, { detail: String(e) }) }));
    };
    if (source === "keys") watchKeys(prefix, add, (end) => setState((/** @type {any} */ s) => ({ ...s, end })), stop.signal).catch(fail);
    if (source === "log") followLog(add, stop.signal, () => isFresh() && !document.hidden).catch(fail);
    return () => stop.abort();
  }, [source, prefix]);
  return state;
}
