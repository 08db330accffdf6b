// Locks: who has them, since when, who waits in which order, and who waits for whom.

import { get, named } from "../lib/api.js";
import { count, duration, number, visible } from "../lib/format.js";
import { cycles, edges, places } from "../lib/graph.js";
import { html, useEffect, useMemo, useState } from "../lib/html.js";
import { serverNow } from "../lib/live.js";
import { Badge, Close, Confirm, Curl, Empty, NameText, Panel, Trouble, useAsked } from "../lib/parts.js";
import { Table } from "../lib/table.js";
import { change, href, route } from "../lib/route.js";

const MOST = 20000;
const PAGE = 1000;
/** More edges are not drawn: nobody could read them. */
const DRAWN = 60;

async function all() {
  const found = [];
  let cursor = null;
  do {
    const page = /** @type {any} */ (await get(`/v1/locks?consistency=sequential&limit=${PAGE}${cursor ? `&cursor=${cursor}` : ""}`));
    found.push(...page.locks.map((/** @type {any} */ l) => ({ ...l, name: named(l, "lock") })));
    cursor = page.next;
  } while (cursor && found.length < MOST);
  return found;
}

/** @param {{live: typeof import("../lib/live.js").live, fresh: boolean, say: (text: string) => void}} props */
export default function Locks({ live, fresh, say }) {
  const chosen = route().params.get("lock");
  const [filter, setFilter] = useState("");
  const asked = useAsked(all, [live.state.server.id], { every: 2000, quiet: true });
  const [, tick] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => tick((n) => n + 1), 1000);
    return () => clearInterval(timer);
  }, []);
  const locks = asked.data;
  const rows = useMemo(() => (locks || []).filter((/** @type {any} */ l) => !filter || l.name.text.includes(filter)), [locks, filter]);
  const now = fresh ? serverNow() : 0;
  const since = (/** @type {number} */ ms) => (now ? duration(Math.max(0, now - ms)) : "–");
  const columns = [
    { title: "Lock", width: "minmax(7rem, 1fr)", cell: (/** @type {any} */ l) => html`<${NameText} name=${l.name} show=${visible} />` },
    { title: "Held by", width: "minmax(7rem, 15rem)", cell: (/** @type {any} */ l) => holders(l) },
    { title: "Token", width: "6.5rem", align: /** @type {"end"} */ ("end"), from: 560, cell: (/** @type {any} */ l) => (l.holders[0] ? number(l.holders.at(-1).token) : "–") },
    { title: "Held for", width: "7rem", align: /** @type {"end"} */ ("end"), from: 460, cell: (/** @type {any} */ l) => (l.holders[0] ? since(l.holders[0].since_ms) : "–") },
    { title: "Waiting", width: "5.5rem", align: /** @type {"end"} */ ("end"), cell: (/** @type {any} */ l) => (l.queue.length ? html`<${Badge} kind="info">${number(l.queue.length)}</${Badge}>` : "0") },
  ];
  const one = (locks || []).find((/** @type {any} */ l) => l.name.id === chosen);
  return html`<h1>Locks</h1>
    <div class=${`split ${chosen ? "open" : ""}`}>
      <${Panel} title=${count(locks?.length ?? 0, "lock")} hint="held or waited for" class="grow" actions=${html`<${Curl} call=${{ path: "/v1/locks" }} />`}>
        <div class="bar-form"><label class="field grow"><span class="offscreen">Filter by name</span><input placeholder="name" value=${filter} onInput=${(/** @type {any} */ e) => setFilter(e.currentTarget.value)} spellcheck=${false} /></label></div>
        <${Trouble} problem=${asked.problem} />
        <${Table} label="Locks" columns=${columns} rows=${rows} rowKey=${(/** @type {any} */ l) => l.name.id} selected=${chosen} onOpen=${(/** @type {any} */ l) => change({ lock: l.name.id })}
          empty=${asked.loading ? "Asking…" : html`<${Empty}>Nobody has a lock. <code>copycat lock job -- sleep 10</code> takes one.</${Empty}>`} />
      </${Panel}>
      ${chosen && html`<${One} key=${chosen} id=${chosen} lock=${one} known=${!asked.loading} since=${since} say=${say} onChanged=${asked.refresh} />`}
    </div>
    <${Graph} locks=${locks || []} />`;
}

/** @param {any} lock */
function holders(lock) {
  const [first, ...others] = lock.holders;
  if (!first) return html`<span class="muted">nobody</span>`;
  return html`<span>session ${first.session}${others.length ? ` and ${others.length} more` : ""}${first.mode === "shared" ? html` <span class="tag">shared</span>` : ""}</span>`;
}

/** @param {{id: string, lock: any, known: boolean, since: (ms: number) => string, say: (text: string) => void, onChanged: () => void}} props */
function One({ id, lock, known, since, say, onChanged }) {
  const [revoking, setRevoking] = useState(/** @type {any} */ (null));
  const title = lock ? visible(lock.name.text) : "Lock";
  const actions = html`<${Curl} call=${{ path: `/v1/locks/${id}` }} /><${Close} onClick=${() => change({ lock: null })} />`;
  return html`<${Panel} title=${title} class="grow detail" actions=${actions}>
    ${!lock && known && html`<${Empty}>Nobody has it or waits for it any more.</${Empty}>`}
    ${lock && html`<h3>Held by</h3>
      <ul class="holders">${lock.holders.map((/** @type {any} */ h) => html`<li key=${h.session}><div><a href=${href("sessions", { session: String(h.session) })}>Session ${h.session}</a> <span class="tag">${h.mode}</span>
        <div class="note">token ${number(h.token)}, for ${since(h.since_ms)}</div></div><button type="button" class="danger-quiet" onClick=${() => setRevoking(h)}>Revoke</button></li>`)}</ul>
      <h3>Waiting, first come first</h3>
      ${lock.queue.length === 0 ? html`<p class="muted">nobody</p>` : html`<ol class="holders">${lock.queue.map((/** @type {any} */ w, /** @type {number} */ i) => html`<li key=${w.session}><div><b>${i + 1}.</b> <a href=${href("sessions", { session: String(w.session) })}>Session ${w.session}</a> <span class="tag">${w.mode}</span>
        <div class="note">for ${since(w.since_ms)}</div></div></li>`)}</ol>`}`}
    ${revoking && lock && html`<${Confirm} title="Revoke this lock" verb="Revoke" danger onClose=${() => setRevoking(null)} call=${{ method: "DELETE", path: `/v1/locks/${id}/holders/${revoking.session}` }}
        onDone=${() => { say(`Lock ${title} was taken from session ${revoking.session}.`); onChanged(); }}>
      <p>Session ${revoking.session} loses <b class="name">${title}</b> and is told so; its token ${number(revoking.token)} is void at once. ${lock.queue[0] ? `Session ${lock.queue[0].session} comes next.` : "Nobody waits for it."}</p>
      <p class="caution">What it was doing goes on until it reads the event: only writes that name the token are fenced.</p>
    </${Confirm}>`}
  </${Panel}>`;
}

/** @param {{locks: any[]}} props */
function Graph({ locks }) {
  const { all, circles, at } = useMemo(() => {
    const found = edges(locks);
    return { all: found, circles: cycles(found), at: places(found.slice(0, DRAWN)) };
  }, [locks]);
  const inCircle = (/** @type {any} */ e) => circles.some((c) => c.includes(e.from) && c.includes(e.to));
  const said = all.length === 0 ? "nobody waits" : `${count(all.length, "wait")}, ${circles.length ? count(circles.length, "deadlock") : "no deadlock"}`;
  const [w, h] = [230, 70];
  const spots = [...at.values()];
  const width = (Math.max(0, ...spots.map((p) => p.x)) + 1) * w + 20;
  const height = (Math.max(0, ...spots.map((p) => p.y)) + 1) * h + 20;
  const center = (/** @type {number} */ id) => {
    const p = at.get(id) || { x: 0, y: 0 };
    return { x: p.x * w + 70, y: p.y * h + 34 };
  };
  return html`<${Panel} title="Who waits for whom" hint=${said}>
    ${circles.map((c) => html`<p class="trouble" role="alert" key=${c.join()}><span class="mark" aria-hidden="true">↻</span> Deadlock: ${[...c, c[0]].map((id) => `session ${id}`).join(" waits for ")}. Revoke one of their locks, or expire one of them.</p>`)}
    ${all.length === 0 ? html`<${Empty}>No session waits for another.</${Empty}>` : html`<div class="graph" tabindex="0" role="region" aria-label="Graph of waits">
      <svg width=${width} height=${height} role="img" aria-label=${all.slice(0, DRAWN).map((e) => `session ${e.from} waits for session ${e.to} because of ${e.lock}`).join("; ")}>
        <defs>${["plain", "bad"].map((kind) => html`<marker key=${kind} id=${`arrow-${kind}`} viewBox="0 0 8 8" refX="7" refY="4" markerWidth="9" markerHeight="9" markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0 8 4 0 8z" class=${`arrow ${kind}`} /></marker>`)}</defs>
        ${all.slice(0, DRAWN).map((e, i) => {
          const [a, b] = [center(e.from), center(e.to)];
          const length = Math.hypot(b.x - a.x, b.y - a.y) || 1;
          const [dx, dy] = [(b.x - a.x) / length, (b.y - a.y) / length];
          const reach = Math.min(62 / Math.max(Math.abs(dx), 0.01), 22 / Math.max(Math.abs(dy), 0.01));
          const bad = inCircle(e);
          const [ox, oy] = bad ? [-dy * 9, dx * 9] : [0, 0];
          return html`<g key=${`${e.from}-${e.to}-${e.lock}-${i}`}><line x1=${a.x + dx * reach + ox} y1=${a.y + dy * reach + oy} x2=${b.x - dx * reach + ox} y2=${b.y - dy * reach + oy} class=${`wait ${bad ? "bad" : "plain"}`} marker-end=${`url(#arrow-${bad ? "bad" : "plain"})`} />
            <text x=${a.x + (b.x - a.x) * 0.4 + ox} y=${a.y + (b.y - a.y) * 0.4 + oy + (oy > 0 ? 13 : -5)} text-anchor="middle" class="wait-name">${visible(e.lock).slice(0, 18)}</text></g>`;
        })}
        ${[...at.keys()].map((id) => {
          const p = center(id);
          return html`<g key=${id}><rect x=${p.x - 60} y=${p.y - 16} width="120" height="32" rx="6" class=${`node ${circles.some((c) => c.includes(id)) ? "bad" : ""}`} /><text x=${p.x} y=${p.y + 4} text-anchor="middle" class="node-name">session ${id}</text></g>`;
        })}
      </svg></div>`}
    ${all.length > DRAWN && html`<p class="note">The first ${DRAWN} of ${number(all.length)} waits are drawn.</p>`}
  </${Panel}>`;
}
