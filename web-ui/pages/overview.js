// How it all is: members, alarms, rates, the last events.

import { clock, count, duration, micros, number, bytes as size, short } from "../lib/format.js";
import { Chart } from "../lib/chart.js";
import { alarms, isUp } from "../lib/health.js";
import { html, useMemo } from "../lib/html.js";
import { others, pageAt, serverNow } from "../lib/live.js";
import { Badge, Empty, Panel } from "../lib/parts.js";
import { mark, sentence } from "../lib/events.js";
import { href } from "../lib/route.js";

/** How many seconds the charts show. */
const SHOWN = 180;

/** @param {{live: typeof import("../lib/live.js").live, theme: string, fresh: boolean}} props */
export default function Overview({ live, theme, fresh }) {
  const { state, events, points } = live;
  return html`<h1 class="offscreen">Overview</h1>
    <${Alarms} state=${state} events=${events} fresh=${fresh} />
    <div class="cards">${state.cluster.members.map((/** @type {any} */ m) => html`<${Member} key=${m.id} member=${m} state=${state} fresh=${fresh} />`)}</div>
    <${Rates} points=${points} theme=${theme} server=${state.server.id} leads=${state.cluster.leader === state.server.id} />
    <${Panel} title="Last events" hint="as this server saw them" actions=${html`<a class="button quiet" href=${href("tail")}>All, live</a>`}>
      ${events.length === 0 ? html`<${Empty}>Nothing has happened since this server was started.</${Empty}>` : html`<ol class="events">
        ${events.slice(-8).reverse().map((e) => html`<li key=${e.id}><time>${clock(e.time_ms)}</time><span class=${`mark ${mark(e).kind}`} aria-hidden="true">${mark(e).form}</span><span>${sentence(e)}</span></li>`)}
      </ol>`}
    </${Panel}>`;
}

/** @param {{state: any, events: any[], fresh: boolean}} props */
function Alarms({ state, events, fresh }) {
  const found = alarms(state, events, serverNow());
  const words = { bad: "Alarm", warn: "Warning", info: "Note" };
  if (found.length === 0) {
    return html`<p class=${`alarms none ${fresh ? "" : "stale"}`}><${Badge} kind="ok">No alarm</${Badge}> <span>All that this server can see is as it should be.</span></p>`;
  }
  return html`<ul class="alarms" aria-label="Alarms">${found.map((a) => html`<li key=${a.title} class=${a.kind}>
    <${Badge} kind=${a.kind}>${words[a.kind]}</${Badge}><div><strong>${a.title}</strong> ${a.next}</div>
    ${a.page && html`<a class="button quiet" href=${href(a.page)}>Look</a>`}
  </li>`)}</ul>`;
}

/** @param {{member: any, state: any, fresh: boolean}} props */
function Member({ member: m, state, fresh }) {
  const { cluster, server } = state;
  const mine = m.id === server.id;
  const leads = m.id === cluster.leader;
  const role = leads ? "leader" : mine ? server.role : !cluster.leader ? "" : m.type === "active" ? "follower" : m.type;
  const up = mine || isUp(m);
  // Without a leader, nobody tells this server how the others are.
  const told = fresh && (mine || Boolean(cluster.leader));
  const page = others().find((o) => o.id === m.id);
  return html`<article class=${`card ${leads ? "leads" : ""} ${told ? "" : "stale"}`} aria-label=${`Server ${m.id}`}>
    <header><h2>Server ${m.id}</h2>${mine && html`<span class="tag">you look through it</span>`}
      <span class="spring"></span>${leads ? html`<${Badge} kind="ok">leader</${Badge}>` : html`<span class="role">${role}</span>`}</header>
    <p>${!told ? html`<${Badge} kind="off">last known: ${m.status}</${Badge}>` : up ? html`<${Badge} kind="ok">${m.status}</${Badge}>` : html`<${Badge} kind="bad">${m.status === "available" ? "silent" : m.status}</${Badge}>`}
      <span class="type">${m.type}</span></p>
    <dl>${lag(m, state)}
      ${mine ? html`<dt>Applied</dt><dd>${number(server.applied_index)}</dd><dt>Memory</dt><dd>${size(server.memory_bytes)}</dd>` : html`<dt>Heard</dt><dd>${m.heard_ms === null || m.heard_ms === undefined ? cluster.leader ? "the leader knows" : "not known" : `${duration(m.heard_ms)} ago`}</dd><dt>Holds</dt><dd>${number(m.match_index)}</dd>`}
    </dl>
    <footer><code>${m.http || "address not known"}</code>${page && html`<a class="button quiet" href=${pageAt(page.url)}>Look through it</a>`}</footer>
  </article>`;
}

/** @param {any} m @param {any} state */
function lag(m, { cluster, server }) {
  if (m.lag !== null && m.lag !== undefined) {
    return html`<dt>Lag</dt><dd>${m.lag === 0 ? "none" : `${count(m.lag, "entry", "entries")}, ${duration(m.lag_ms)}`}</dd>`;
  }
  if (m.id === server.id) return html`<dt>Lag</dt><dd>${server.commit_index === server.applied_index ? "none" : count(server.commit_index - server.applied_index, "entry", "entries")}</dd>`;
  return html`<dt>Lag</dt><dd>${m.id === cluster.leader ? "it leads" : cluster.leader ? "the leader knows" : "not known"}</dd>`;
}

/** Reads by how they were served, writes, and the rest: always in the same colours. */
const KINDS = [
  ["read linearizable", "read, linearizable"], ["read lease", "read, lease"], ["read sequential", "read, sequential"], ["write", "write"],
  ["transaction", "transaction"], ["command", "command"], ["lock", "lock"], ["session", "session"], ["wait", "wait"],
];

/** The last seconds, one a step: what is missing is null. @param {any[]} points */
function seconds(points) {
  const end = points.at(-1)?.time_ms ?? serverNow();
  return points.filter((p) => p.time_ms > end - SHOWN * 1000);
}

/** @param {{points: any[], theme: string, server: number, leads: boolean}} props */
function Rates({ points, theme, server, leads }) {
  const last = points.at(-1)?.time_ms;
  const data = useMemo(() => {
    const shown = seconds(points);
    const times = shown.map((p) => p.time_ms / 1000);
    const spans = shown.map((p, i) => (i === 0 ? 1 : Math.max(0.2, (p.time_ms - shown[i - 1].time_ms) / 1000)));
    const name = (/** @type {any} */ o) => (o.consistency ? `${o.operation} ${o.consistency}` : o.operation);
    const used = KINDS.filter(([id]) => shown.some((p) => p.operations.some((/** @type {any} */ o) => name(o) === id)));
    const find = (/** @type {any} */ p, /** @type {string} */ id) => p.operations.find((/** @type {any} */ o) => name(o) === id);
    const color = (/** @type {string} */ id) => KINDS.findIndex(([known]) => known === id);
    const rates = used.map(([id, text]) => ({ name: text, color: color(id), values: shown.map((p, i) => (find(p, id)?.count ?? 0) / spans[i]) }));
    const slow = used.filter(([id]) => id !== "wait").map(([id, text]) => ({ name: text, color: color(id), values: shown.map((p) => find(p, id)?.p99_us ?? null) }));
    const commits = [{ name: "committed", color: 0, values: shown.map((p, i) => (i === 0 ? null : (p.commit_index - shown[i - 1].commit_index) / spans[i])) }];
    const ids = [...new Set(shown.flatMap((p) => p.members.map((/** @type {any} */ m) => m.id)))].filter((id) => id !== server);
    const lags = ids.map((id) => ({ name: `server ${id}`, color: id, values: shown.map((p) => p.members.find((/** @type {any} */ m) => m.id === id)?.lag_ms ?? null) }));
    return { times, rates, slow, commits, lags };
  }, [last, server]);
  const { times, rates, slow, commits, lags } = data;
  const rate = (/** @type {number} */ v) => short(v);
  return html`<div class="charts">
    <${Panel} title="Requests a second" hint=${`answered by server ${server}`}><${Chart} label="Requests a second" times=${times} lines=${rates.length ? rates : [{ name: "requests", color: 0, values: times.map(() => 0) }]} show=${rate} theme=${theme} /></${Panel}>
    <${Panel} title="Latency, 99 of 100" hint=${`at server ${server}, waits apart`}>${slow.length ? html`<${Chart} label="Latency of 99 in 100 requests" times=${times} lines=${slow} show=${micros} log theme=${theme} />` : html`<${Empty}>No request in the last three minutes.</${Empty}>`}</${Panel}>
    <${Panel} title="Entries committed a second" hint="the whole cluster"><${Chart} label="Entries committed a second" times=${times} lines=${commits} show=${rate} theme=${theme} /></${Panel}>
    <${Panel} title="Followers behind, in time" hint="known by the leader">${leads && lags.length ? html`<${Chart} label="Followers behind" times=${times} lines=${lags} show=${duration} theme=${theme} />` : html`<${Empty}>Only the leader knows how far the others are.</${Empty}>`}</${Panel}>
  </div>`;
}
