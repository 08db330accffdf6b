// Clients as the cluster knows them: how alive they are, what they have yet to read, what hangs on them.

import { get, named } from "../lib/api.js";
import { count, duration, number, visible } from "../lib/format.js";
import { html, useEffect, useMemo, useState } from "../lib/html.js";
import { Badge, Bar, Close, Confirm, Curl, Empty, NameText, Panel, Trouble, useAsked } from "../lib/parts.js";
import { Table } from "../lib/table.js";
import { change, href, route } from "../lib/route.js";

/** As many as are ever listed here; pages of the largest size. */
const MOST = 20000;
const PAGE = 1000;

/** All pages, from this server's own state. */
async function all() {
  const found = [];
  let cursor = null;
  do {
    const page = /** @type {any} */ (await get(`/v1/sessions?consistency=sequential&limit=${PAGE}${cursor ? `&cursor=${cursor}` : ""}`));
    found.push(...page.sessions);
    cursor = page.next;
  } while (cursor && found.length < MOST);
  return { sessions: found, more: cursor !== null };
}

/** @param {{live: typeof import("../lib/live.js").live, fresh: boolean, say: (text: string) => void}} props */
export default function Sessions({ live, fresh, say }) {
  const { params } = route();
  const chosen = params.get("session");
  const [filter, setFilter] = useState("");
  // Many sessions are asked for less often.
  const many = live.state.server.sessions > 1000;
  const asked = useAsked(all, [live.state.server.id], { every: many ? 15000 : 3000, quiet: true });
  const [, tick] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => tick((n) => n + 1), 1000);
    return () => clearInterval(timer);
  }, []);
  const sessions = asked.data?.sessions;
  const rows = useMemo(() => (sessions || []).filter((/** @type {any} */ s) => !filter || String(s.session).includes(filter) || s.name.includes(filter)), [sessions, filter]);
  const since = fresh ? performance.now() - asked.at : 0;
  const old = (/** @type {any} */ s) => s.keep_alive_age_ms + since;
  const columns = [
    { title: "Session", width: "5rem", cell: (/** @type {any} */ s) => html`<b>${s.session}</b>` },
    { title: "Name", width: "minmax(6rem, 1fr)", cell: (/** @type {any} */ s) => html`<span class="name">${visible(s.name) || html`<span class="muted">unnamed</span>`}</span>` },
    { title: "Kept alive", width: "minmax(9rem, 15rem)", cell: (/** @type {any} */ s) => html`<${Bar} share=${old(s) / s.timeout_ms} kind=${old(s) > s.timeout_ms ? "bad" : old(s) > s.timeout_ms * 0.7 ? "warn" : "ok"} label=${`${duration(old(s))} of ${duration(s.timeout_ms)}`} />` },
    { title: "Sequence", width: "6rem", align: /** @type {"end"} */ ("end"), from: 760, cell: (/** @type {any} */ s) => number(s.sequence) },
    { title: "Events", width: "7rem", align: /** @type {"end"} */ ("end"), from: 860, cell: (/** @type {any} */ s) => number(s.event_index) },
    { title: "Acknowledged", width: "7rem", align: /** @type {"end"} */ ("end"), from: 960, cell: (/** @type {any} */ s) => number(s.acknowledged_index) },
    { title: "Queue", width: "5rem", align: /** @type {"end"} */ ("end"), from: 560, cell: (/** @type {any} */ s) => (s.queue_depth ? html`<${Badge} kind=${s.queue_depth > 500 ? "warn" : "info"}>${number(s.queue_depth)}</${Badge}>` : "0") },
    { title: "Server", width: "4.5rem", align: /** @type {"end"} */ ("end"), from: 660, cell: (/** @type {any} */ s) => s.server ?? "–" },
  ];
  return html`<h1>Sessions</h1>
    <div class=${`split ${chosen ? "open" : ""}`}>
      <${Panel} title=${count(sessions?.length ?? live.state.server.sessions, "session")} hint=${asked.data?.more ? `the first ${number(MOST)}` : "ages go by log time"} class="grow" actions=${html`<${Curl} call=${{ path: "/v1/sessions" }} />`}>
        <div class="bar-form"><label class="field grow"><span class="offscreen">Filter by name or number</span><input placeholder="name or number" value=${filter} onInput=${(/** @type {any} */ e) => setFilter(e.currentTarget.value)} spellcheck=${false} /></label></div>
        <${Trouble} problem=${asked.problem} />
        <${Table} label="Sessions" columns=${columns} rows=${rows} rowKey=${(/** @type {any} */ s) => String(s.session)} selected=${chosen} onOpen=${(/** @type {any} */ s) => change({ session: String(s.session) })}
          empty=${asked.loading ? "Asking…" : html`<${Empty}>No session is open. <code>copycat lock</code>, <code>copycat watch</code> and <code>POST /v1/sessions</code> begin some.</${Empty}>`} />
      </${Panel}>
      ${chosen && html`<${One} key=${chosen} id=${chosen} say=${say} onGone=${asked.refresh} />`}
    </div>`;
}

/** @param {{id: string, say: (text: string) => void, onGone: () => void}} props */
function One({ id, say, onGone }) {
  const [ending, setEnding] = useState(false);
  const asked = useAsked(() => get(`/v1/sessions/${id}?consistency=sequential`), [id], { every: 2000, quiet: true });
  const s = asked.data;
  const locks = (s?.locks || []).map((/** @type {any} */ l) => named(l, "lock"));
  const keys = (s?.ephemeral_keys || []).map((/** @type {any} */ k) => named(k, "key"));
  const actions = html`<${Curl} call=${{ path: `/v1/sessions/${id}` }} />
    ${s && html`<button type="button" class="danger-quiet" onClick=${() => setEnding(true)}>Expire</button>`}
    <${Close} onClick=${() => change({ session: null })} />`;
  return html`<${Panel} title=${`Session ${id}`} hint=${s ? visible(s.name) : ""} class="grow detail" actions=${actions}>
    <${Trouble} problem=${asked.problem} />
    ${s && html`<dl class="facts">${[["Timeout", duration(s.timeout_ms)], ["Best kept alive every", duration(s.keep_alive_ms)], ["Last command", number(s.sequence)], ["Answers acknowledged", number(s.acknowledged_sequence)],
      ["Last event", number(s.event_index)], ["Events acknowledged", number(s.acknowledged_index)], ["Events waiting", number(s.queue_depth)], ["Talks to", s.server ? `server ${s.server}` : "–"]].map(([k, v]) => html`<div key=${k}><dt>${k}</dt><dd>${v}</dd></div>`)}</dl>
    <${Holds} locks=${locks} keys=${keys} />`}
    ${ending && s && html`<${Confirm} title=${`Expire session ${id}`} verb="Expire it" danger call=${{ method: "DELETE", path: `/v1/sessions/${id}` }} onClose=${() => setEnding(false)}
        onDone=${() => { say(`Session ${id} is over.`); change({ session: null }); onGone(); }}>
      <p>Its client${s.name ? html`, <b class="name">${visible(s.name)}</b>,` : ""} is told that it is over. With it go ${locks.length === 0 && keys.length === 0 ? "no lock and no key" : `${count(locks.length, "lock")} and ${count(keys.length, "key")}`}:</p>
      <${Holds} locks=${locks} keys=${keys} />
    </${Confirm}>`}
  </${Panel}>`;
}

/** @param {{locks: import("../lib/api.js").Name[], keys: import("../lib/api.js").Name[]}} props */
function Holds({ locks, keys }) {
  const most = (/** @type {any[]} */ list) => (list.length >= 100 ? " (the first 100)" : "");
  return html`<h3>Locks held${most(locks)}</h3>
    ${locks.length ? html`<ul class="links">${locks.map((l) => html`<li key=${l.id}><a href=${href("locks", { lock: l.id })}><${NameText} name=${l} show=${visible} /></a></li>`)}</ul>` : html`<p class="muted">none</p>`}
    <h3>Keys that go with it${most(keys)}</h3>
    ${keys.length ? html`<ul class="links">${keys.map((k) => html`<li key=${k.id}><a href=${href("keys", { key: k.id })}><${NameText} name=${k} show=${visible} /></a></li>`)}</ul>` : html`<p class="muted">none</p>`}`;
}
