// The log as it lies on this server's disk: segment by segment, what of it lives, and what keeps it.

import { bytes, clock, count, number } from "../lib/format.js";
import { get } from "../lib/api.js";
import { html, useEffect, useState } from "../lib/html.js";
import { Badge, Confirm, Curl, Empty, Icon, Panel, Trouble, useAsked } from "../lib/parts.js";
import { sentence } from "../lib/events.js";
import { Table } from "../lib/table.js";
import { change, route } from "../lib/route.js";

const PAGE = 200;
const KINDS = /** @type {const} */ (["live", "released", "tombstones", "holes"]);
const WORDS = { live: "live", released: "released", tombstones: "tombstones", holes: "holes" };

/** What a segment's indexes are now; each is one of the four. @param {any} s */
export function parts(s) {
  const span = Math.max(0, s.last_index - s.first_index + 1);
  // Tombstones are told among the released.
  return { span, live: s.live, released: s.released - s.tombstones, tombstones: s.tombstones, holes: s.holes };
}

/** The places in the log that have names. @param {any} server @param {any} log */
export function cursors(server, log) {
  const all = [
    ["snapshot", server.snapshot?.index, "through here the state is in a durable snapshot"],
    ["global", server.global_index, "durable on every available member"],
    ["applied", server.applied_index, "what queries here see"],
    ["commit", server.commit_index, "durable on a majority"],
    ["durable", Math.max(log.durable_index, server.log.durable_index), "on this server's disk"],
    ["last", Math.max(log.last_index, server.log.last_index), "the end of the log"],
  ];
  return all.filter(([, index]) => index !== undefined && index !== null).map(([name, index, about]) => ({ name: String(name), index: Number(index), about: String(about) }));
}

/** @param {{live: typeof import("../lib/live.js").live, fresh: boolean, say: (text: string) => void}} props */
export default function Log({ live, fresh, say }) {
  const { server } = live.state;
  const { params } = route();
  const from = params.get("from");
  const asked = useAsked(() => get("/v1/log"), [server.id], { every: 1500, quiet: true });
  /** @type {[any, (call: any) => void]} */
  const [plan, setPlan] = useState(null);
  const log = asked.data;
  const marks = log ? cursors(server, log) : [];
  const at = log && from ? log.segments.find((/** @type {any} */ s) => Number(from) >= s.first_index && Number(from) <= s.last_index) : null;
  const compactions = live.events.filter((e) => /^(compaction|snapshot|install)$/.test(e.type)).slice(-4).reverse();
  const actions = html`
    <button type="button" onClick=${() => setPlan(compaction("minor"))}>Compact, minor</button>
    <button type="button" onClick=${() => setPlan(compaction("major"))}>Compact, major</button>
    <button type="button" onClick=${() => setPlan({ title: "Take a snapshot", verb: "Take it", call: { method: "POST", path: "/v1/snapshots" }, text: "The state as it is now is written to this server's disk, in the background; compaction may then drop what it covers.", done: (/** @type {any} */ json) => `A snapshot of entry ${number(json.index)} is durable.` })}>Snapshot</button>
    ${server.snapshot && html`<a class="button" href="/v1/snapshots/latest" download>Backup</a>`}
    <${Curl} call=${{ path: "/v1/log" }} />`;
  const columns = [
    { title: "Segment", width: "minmax(5.5rem, 11rem)", cell: (/** @type {any} */ s) => html`<span><b>${number(s.first_index)}</b>${s.generation > 1 && html` <span class="tag" title="rewritten ${s.generation - 1} times by compaction">gen ${s.generation}</span>`}</span>` },
    { title: "Through", width: "6.5rem", align: /** @type {"end"} */ ("end"), from: 640, cell: (/** @type {any} */ s) => (s.last_index < s.first_index ? "empty" : number(s.last_index)) },
    { title: "What of it lives", width: "minmax(8rem, 1fr)", cell: (/** @type {any} */ s) => html`<${Strip} segment=${s} marks=${marks} />` },
    { title: "In numbers", width: "minmax(13rem, 22rem)", from: 900, cell: (/** @type {any} */ s) => words(s) },
    { title: "Bytes", width: "6rem", align: /** @type {"end"} */ ("end"), from: 460, cell: (/** @type {any} */ s) => bytes(s.bytes) },
    { title: "Pinned by", width: "minmax(5rem, 15rem)", from: 760, cell: (/** @type {any} */ s) => pins(s) },
  ];
  return html`<h1>Log</h1>
    <${Trouble} problem=${asked.problem} />
    ${log && html`<${Panel} title=${`${count(log.segments.length, "segment")}, ${bytes(log.bytes)}, indexes ${number(log.first_index)} to ${number(log.last_index)}`} hint=${`on server ${server.id}; ${count(log.live, "entry", "entries")} held by the store`} actions=${actions}>
      <${Ruler} log=${log} marks=${marks} fresh=${fresh} />
      <p class="legend" aria-label="Legend">${KINDS.map((k) => html`<span key=${k}><i class=${`strip-key ${k}`}></i> ${WORDS[k]}</span>`)}<span><i class="strip-key tail"></i> not yet filled</span></p>
      <${Table} label="Segments" columns=${columns} rows=${log.segments} rowKey=${(/** @type {any} */ s) => String(s.first_index)} height=${36} selected=${at ? String(at.first_index) : null}
        onOpen=${(/** @type {any} */ s) => change({ from: String(s.first_index) })} empty=${html`<${Empty}>The log is empty.</${Empty}>`} />
      ${compactions.length > 0 && html`<h3>Latest snapshots and compactions</h3><ol class="events">${compactions.map((e) => html`<li key=${e.id}><time>${clock(e.time_ms)}</time><span>${sentence(e)}</span></li>`)}</ol>`}
    </${Panel}>
    ${from ? html`<${Entries} key=${at ? at.first_index : from} from=${Number(from)} segment=${at} />` : html`<p class="note">Choose a segment to see its entries.</p>`}`}
    ${plan && html`<${Confirm} title=${plan.title} call=${plan.call} verb=${plan.verb} onClose=${() => setPlan(null)} onDone=${(/** @type {any} */ answer) => { say(plan.done(answer.json)); asked.refresh(); }}><p>${plan.text}</p></${Confirm}>`}`;
}

/** @param {"minor" | "major"} kind */
function compaction(kind) {
  const text = {
    minor: "The segments for which it is most worth while are rewritten without their released entries, in the background; indexes stay.",
    major: "Everything at or below the snapshot is rewritten, tombstones too, in the background; indexes stay.",
  };
  const call = { method: "POST", path: "/v1/log/compactions", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ kind }) };
  const done = (/** @type {any} */ json) => (json.compacted ? `Compacted: ${bytes(json.bytes_before)} before, ${bytes(json.bytes_after)} after.` : "Nothing was worth it, or there is no snapshot yet.");
  return { title: `Compact the log, ${kind}`, verb: "Compact", call, text: text[kind], done };
}

/** @param {any} s */
function words(s) {
  const p = parts(s);
  return KINDS.filter((k) => p[k] > 0).map((k) => `${number(p[k])} ${WORDS[k]}`).join(", ") || "no entry yet";
}

/** @param {any} s */
function pins(s) {
  if (s.pinned_by === "active" || !s.sealed) return html`<${Badge} kind="info">filling</${Badge}>`;
  if (s.pinned_by) return html`<span class="pin" title=${s.pinned_by}><${Icon} of="pin" />${s.pinned_by}</span>`;
  return html`<span class="muted">nothing</span>`;
}

/** @param {{segment: any, marks: {name: string, index: number}[]}} props */
function Strip({ segment: s, marks }) {
  const p = parts(s);
  const width = (/** @type {number} */ n) => `${(n / Math.max(1, p.span)) * 100}%`;
  const here = marks.filter((m) => m.index >= s.first_index && m.index <= s.last_index);
  const place = (/** @type {number} */ index) => `${((index - s.first_index + 1) / Math.max(1, p.span)) * 100}%`;
  return html`<div class="strip" role="img" aria-label=${`${words(s)}${here.length ? `; here: ${here.map((m) => `${m.name} ${m.index}`).join(", ")}` : ""}`}>
    <div class="strip-parts">${KINDS.map((k) => p[k] > 0 && html`<span key=${k} class=${k} style=${{ width: width(p[k]) }}></span>`)}</div>
    ${here.map((m) => html`<i key=${m.name} class=${`cursor ${m.name}`} style=${{ left: place(m.index) }}></i>`)}
  </div>`;
}

/** The whole log, and where the cursors are. @param {{log: any, marks: ReturnType<typeof cursors>, fresh: boolean}} props */
function Ruler({ log, marks, fresh }) {
  const end = Math.max(log.last_index, ...marks.map((m) => m.index));
  const span = Math.max(1, end - log.first_index + 1);
  const left = (/** @type {number} */ index) => `${Math.max(0, Math.min(1, (index - log.first_index + 1) / span)) * 100}%`;
  return html`<div class=${`ruler ${fresh ? "" : "stale"}`}>
    <div class="ruler-line" aria-hidden="true">${log.segments.map((/** @type {any} */ s) => html`<span key=${s.first_index} style=${{ left: left(s.first_index - 1) }}></span>`)}
      ${marks.map((m) => html`<i key=${m.name} class=${`cursor ${m.name}`} style=${{ left: left(m.index) }}></i>`)}</div>
    <dl class="cursors">${marks.map((m) => html`<div key=${m.name} title=${m.about}><dt><i class=${`cursor-key ${m.name}`} aria-hidden="true"></i>${m.name}</dt><dd>${number(m.index)}</dd></div>`)}</dl>
  </div>`;
}

/** @param {{from: number, segment: any}} props */
function Entries({ from, segment }) {
  const [state, setState] = useState(/** @type {any} */ ({ entries: [], next: from, problem: null, busy: false }));
  /** @type {[any, (entry: any) => void]} */
  const [open, setOpen] = useState(null);
  const last = segment && segment.sealed ? segment.last_index : Infinity;
  const more = async () => {
    if (state.busy || state.next === null || state.next > last) return;
    setState((/** @type {any} */ s) => ({ ...s, busy: true }));
    try {
      const page = await get(`/v1/log/entries?from=${state.next}&limit=${PAGE}`);
      const entries = page.entries.filter((/** @type {any} */ e) => e.index <= last);
      setState((/** @type {any} */ s) => ({ entries: [...s.entries, ...entries], next: page.next, problem: null, busy: false }));
    } catch (problem) {
      setState((/** @type {any} */ s) => ({ ...s, problem, busy: false, next: null }));
    }
  };
  useEffect(() => void more(), []);
  const columns = [
    { title: "Index", width: "6.5rem", align: /** @type {"end"} */ ("end"), cell: (/** @type {any} */ e) => number(e.index) },
    { title: "Term", width: "4rem", align: /** @type {"end"} */ ("end"), from: 560, cell: (/** @type {any} */ e) => e.term },
    { title: "Log time", width: "7.5rem", from: 700, cell: (/** @type {any} */ e) => html`<time>${clock(e.time_ms)}</time>` },
    { title: "Kind", width: "7.5rem", cell: (/** @type {any} */ e) => e.kind.replaceAll("_", " ") },
    { title: "Mode", width: "6rem", from: 800, cell: (/** @type {any} */ e) => e.mode },
    { title: "Bytes", width: "5.5rem", align: /** @type {"end"} */ ("end"), from: 500, cell: (/** @type {any} */ e) => bytes(e.bytes) },
    { title: "What it says", cell: (/** @type {any} */ e) => html`<code class="one-line">${e.command ? JSON.stringify(e.command) : ""}</code>` },
  ];
  return html`<${Panel} title=${`Entries from ${number(from)}`} hint=${segment ? `of ${segment.file}` : ""} class="grow"
      actions=${html`<${Curl} call=${{ path: `/v1/log/entries?from=${from}&limit=${PAGE}` }} /><button type="button" class="quiet" onClick=${() => change({ from: null })}>Close</button>`}>
    <${Trouble} problem=${state.problem} />
    <${Table} label="Entries" columns=${columns} rows=${state.entries} rowKey=${(/** @type {any} */ e) => String(e.index)} onEnd=${more} onOpen=${setOpen} selected=${open ? String(open.index) : null}
      empty=${state.busy ? "Asking…" : html`<${Empty}>No entry is left here.</${Empty}>`} />
    ${open && html`<pre class="entry" tabindex="0" role="region" aria-label=${`Entry ${open.index}`}>${JSON.stringify(open, null, 2)}</pre>`}
  </${Panel}>`;
}
