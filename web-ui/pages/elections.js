// Who led when, who voted for whom, and why it changed: a lane for each server.

import { clock, duration } from "../lib/format.js";
import { bands, isOfElections, mark, sentence } from "../lib/events.js";
import { html, useLayoutEffect, useRef, useState } from "../lib/html.js";
import { serverNow } from "../lib/live.js";
import { Choice, Empty, Panel } from "../lib/parts.js";
import { Table } from "../lib/table.js";
import { change, route } from "../lib/route.js";

/** @type {[string, string][]} */
const SPANS = [["60", "1 min"], ["600", "10 min"], ["3600", "1 h"], ["all", "All"]];
const LANE = 44;
const LEFT = 84;

/** @param {{live: typeof import("../lib/live.js").live, fresh: boolean}} props */
export default function Elections({ live, fresh }) {
  const { events, state } = live;
  const { cluster, server } = state;
  const span = route().params.get("span") || "600";
  const found = events.filter(isOfElections);
  const now = serverNow();
  const oldest = found[0]?.time_ms ?? now - 60000;
  const from = span === "all" ? Math.min(oldest - 1000, now - 60000) : now - Number(span) * 1000;
  const columns = [
    { title: "Time", width: "7.5rem", cell: (/** @type {any} */ e) => html`<time>${clock(e.time_ms)}</time>` },
    { title: "Term", width: "4rem", from: 480, align: /** @type {"end"} */ ("end"), cell: (/** @type {any} */ e) => e.term },
    { title: "What", width: "11rem", from: 620, cell: (/** @type {any} */ e) => html`<span class=${`mark ${mark(e).kind}`} aria-hidden="true">${mark(e).form}</span> ${mark(e).word}` },
    { title: "In words", cell: (/** @type {any} */ e) => sentence(e) },
  ];
  const list = found.slice().reverse();
  return html`<h1>Elections</h1>
    <${Panel} title=${`Term ${cluster.term}, ${cluster.leader ? `led by server ${cluster.leader}` : "without a leader"}`} hint=${`as server ${server.id} saw it; others may have seen more`}
        actions=${html`<${Choice} label="Time shown" value=${span} options=${SPANS} onChange=${(/** @type {string} */ v) => change({ span: v })} />`}>
      <${Lanes} cluster=${cluster} events=${found} from=${from} now=${now} fresh=${fresh} />
      <p class="legend" aria-label="Legend"><span><i class="band-key"></i> leads this term</span>
        ${[["★", "ok", "elected"], ["◆", "info", "heard as leader"], ["✕", "bad", "missed heartbeats, unavailable"], ["▲", "ok", "available"], ["▽", "warn", "stepped down"], ["●", "ok", "vote"], ["○", "warn", "vote refused"], ["•", "off", "would vote"], ["◦", "off", "would not"], ["⇄", "info", "transfer"]].map(([form, kind, text]) => html`<span key=${text}><span class=${`mark ${kind}`} aria-hidden="true">${form}</span> ${text}</span>`)}</p>
    </${Panel}>
    <${Panel} title="Each with its reason" hint=${`${found.length} events, newest first`} class="grow">
      <${Table} label="Elections" columns=${columns} rows=${list} rowKey=${(/** @type {any} */ e) => String(e.id)} empty=${html`<${Empty}>No election since this server was started.</${Empty}>`} />
    </${Panel}>`;
}

/** @param {{cluster: any, events: any[], from: number, now: number, fresh: boolean}} props */
function Lanes({ cluster, events, from, now, fresh }) {
  const place = useRef(/** @type {HTMLDivElement | null} */ (null));
  const [width, setWidth] = useState(800);
  useLayoutEffect(() => {
    const element = place.current;
    if (!element) return undefined;
    const observer = new ResizeObserver(() => setWidth(element.clientWidth));
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  const ids = [...new Set([...cluster.members.map((/** @type {any} */ m) => m.id), ...events.map((e) => mark(e).lane)])].sort((a, b) => a - b);
  const room = Math.max(60, width - LEFT - 12);
  const x = (/** @type {number} */ t) => LEFT + ((Math.max(from, Math.min(now, t)) - from) / (now - from)) * room;
  const y = (/** @type {number} */ id) => ids.indexOf(id) * LANE;
  const height = ids.length * LANE + 22;
  const steps = ticks(from, now, room);
  const shown = events.filter((e) => e.time_ms >= from);
  const led = bands(events, cluster, now).filter((b) => b.to >= from);
  const said = led.map((b) => `server ${b.member} led term ${b.term} for ${duration(b.to - Math.max(b.from, from))}`).join("; ");
  return html`<div class=${`lanes ${fresh ? "" : "stale"}`} ref=${place}>
    <svg width=${width} height=${height} role="img" aria-label=${`Leaders over time: ${said || "none known"}`}>
      ${ids.map((id, i) => html`<g key=${id}><rect x="0" y=${y(id)} width=${width} height=${LANE} class=${`lane ${i % 2 ? "odd" : ""}`} />
        <text x="10" y=${y(id) + LANE / 2 + 4} class="lane-name">Server ${id}</text></g>`)}
      ${steps.map((t) => html`<g key=${t}><line x1=${x(t)} x2=${x(t)} y1="0" y2=${height - 22} class="tick" /><text x=${x(t)} y=${height - 6} class="tick-name" text-anchor="middle">${clock(t).slice(0, 8)}</text></g>`)}
      ${led.map((b) => html`<g key=${`${b.member}-${b.term}-${b.from}`}><rect x=${x(b.from)} y=${y(b.member) + 10} width=${Math.max(2, x(b.to) - x(b.from))} height=${LANE - 20} rx="4" class=${`band ${b.term % 2 ? "odd" : ""}`}><title>Server ${b.member} leads term ${b.term}</title></rect>
        ${x(b.to) - x(b.from) > 44 && html`<text x=${x(b.from) + 8} y=${y(b.member) + LANE / 2 + 4} class="band-name">term ${b.term}</text>`}</g>`)}
      ${shown.map((e) => html`<text key=${e.id} x=${x(e.time_ms)} y=${y(mark(e).lane) + (e.type.startsWith("poll") ? 40 : e.type.startsWith("vote") ? 9 : LANE / 2 + 5)} class=${`lane-mark ${mark(e).kind}`} text-anchor="middle">${mark(e).form}<title>${clock(e.time_ms)} ${sentence(e)}</title></text>`)}
    </svg>
  </div>`;
}

/** Round times. @param {number} from @param {number} to @param {number} room px */
function ticks(from, to, room) {
  const wanted = (to - from) / Math.max(2, room / 110);
  const step = [5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 86400].map((s) => s * 1000).find((s) => s >= wanted) || 86400000;
  const found = [];
  for (let t = Math.ceil(from / step) * step; t < to; t += step) found.push(t);
  return found;
}
