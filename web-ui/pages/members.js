// Who belongs to the cluster, and what may be done about it.

import { bytes, count, duration, number } from "../lib/format.js";
import { isUp, preview, quorum, quorumSentence } from "../lib/health.js";
import { html, useState } from "../lib/html.js";
import { others, pageAt } from "../lib/live.js";
import { Badge, Confirm, Curl, Panel } from "../lib/parts.js";
import { Table } from "../lib/table.js";

const TYPES = ["active", "passive", "reserve"];

/** @param {{live: typeof import("../lib/live.js").live, fresh: boolean, say: (text: string) => void}} props */
export default function Members({ live, fresh, say }) {
  const { cluster, server } = live.state;
  /** @type {[any, (plan: any) => void]} */
  const [plan, setPlan] = useState(null);
  const q = quorum(cluster.members);
  const role = (/** @type {any} */ m) => (m.id === cluster.leader ? html`<${Badge} kind="ok">leader</${Badge}>` : m.id === server.id ? server.role : m.type === "active" && cluster.leader ? "follower" : "–");
  const status = (/** @type {any} */ m) => {
    if (!fresh || (!cluster.leader && m.id !== server.id)) return html`<${Badge} kind="off">${m.status}?</${Badge}>`;
    return isUp(m) ? html`<${Badge} kind="ok">${m.status}</${Badge}>` : html`<${Badge} kind="bad">${m.status === "available" ? "silent" : m.status}</${Badge}>`;
  };
  const known = (/** @type {any} */ value, /** @type {(v: any) => any} */ show) => (value === null || value === undefined ? html`<span class="muted" title="only the leader knows">–</span>` : show(value));
  const columns = [
    { title: "Id", width: "1.6rem", cell: (/** @type {any} */ m) => html`<b>${m.id}</b>` },
    { title: "Role", width: "5.4rem", cell: role },
    { title: "Type", width: "8rem", from: 600, cell: (/** @type {any} */ m) => (m.becoming ? html`${m.type} <span class="muted" title="as soon as it has caught up">→ ${m.becoming}</span>` : m.type) },
    { title: "Status", width: "7.4rem", cell: status },
    { title: "Holds", width: "7rem", align: /** @type {"end"} */ ("end"), from: 820, cell: (/** @type {any} */ m) => known(m.match_index, number) },
    { title: "Lag", width: "9.5rem", align: /** @type {"end"} */ ("end"), from: 700, cell: (/** @type {any} */ m) => known(m.lag, (lag) => (lag === 0 ? "none" : `${number(lag)}, ${duration(m.lag_ms)}`)) },
    { title: "Heard", width: "6rem", align: /** @type {"end"} */ ("end"), from: 920, cell: (/** @type {any} */ m) => known(m.heard_ms, (ms) => (m.id === cluster.leader ? "itself" : duration(ms))) },
    { title: "HTTP", width: "minmax(9rem, 1fr)", from: 1000, cell: (/** @type {any} */ m) => html`<code>${m.http || "–"}</code>` },
    { title: "Peers", width: "minmax(9rem, 1fr)", from: 1150, cell: (/** @type {any} */ m) => html`<code>${m.peer}</code>` },
    { title: "Do", width: "minmax(5rem, 8rem)", cell: (/** @type {any} */ m) => html`<${Do} member=${m} leader=${cluster.leader} onPlan=${setPlan} />` },
  ];
  return html`<h1>Members</h1>
    <${Panel} title=${quorumSentence(q)} hint=${`configuration ${cluster.configuration_index}, as server ${server.id} knows it`} actions=${html`<${Curl} call=${{ path: "/v1/cluster" }} />`}>
      <${Table} label="Members" columns=${columns} rows=${cluster.members} rowKey=${(/** @type {any} */ m) => String(m.id)} height=${40} />
    </${Panel}>
    <div class="charts">
      <${Panel} title=${`Server ${server.id}`} hint="the one you look through" actions=${html`<${Curl} call=${{ path: "/v1/server" }} />`}><${Facts} server=${server} cluster=${cluster} /></${Panel}>
      <${Panel} title="Look through another">
        <ul class="links">${others().map((o) => html`<li key=${o.id}><a href=${pageAt(o.url)}>Server ${o.id}</a> <code>${o.url}</code>${o.id === cluster.leader && html` <${Badge} kind="ok">leader</${Badge}>`}</li>`)}
        ${others().length === 0 && html`<li class="muted">No other member's address is known.</li>`}</ul>
        <p class="note">Each server tells its own view. Lag, and when a member was last heard, are known by the leader.</p>
      </${Panel}>
    </div>
    ${plan && html`<${Plan} plan=${plan} cluster=${cluster} fresh=${fresh} onClose=${() => setPlan(null)} onDone=${() => say(`${plan.said}: done.`)} />`}`;
}

/** @param {{member: any, leader: number | null, onPlan: (plan: any) => void}} props */
function Do({ member: m, leader, onPlan }) {
  const choose = (/** @type {Event} */ e) => {
    const select = /** @type {HTMLSelectElement} */ (e.currentTarget);
    const what = select.value;
    select.value = "";
    if (what) onPlan({ member: m, what, said: `Server ${m.id}, ${what}` });
  };
  return html`<select class="small" aria-label=${`Change server ${m.id}`} onChange=${choose}>
    <option value="">Change…</option>
    ${TYPES.filter((t) => t !== m.type).map((t) => html`<option key=${t} value=${t}>${TYPES.indexOf(t) < TYPES.indexOf(m.type) ? "Promote" : "Demote"} to ${t}</option>`)}
    ${m.type === "active" && m.id !== leader && html`<option value="lead">Make it the leader</option>`}
    <option value="remove">Remove</option>
  </select>`;
}

/** What is to be done, what the quorum is before and after, and why not. @param {{plan: any, cluster: any, fresh: boolean, onClose: () => void, onDone: () => void}} props */
function Plan({ plan: { member: m, what }, cluster, fresh, onClose, onDone }) {
  const index = cluster.configuration_index;
  const path = `/v1/cluster/members/${m.id}`;
  const json = { "Content-Type": "application/json" };
  const calls = {
    lead: { method: "POST", path: "/v1/cluster/leader", headers: json, body: JSON.stringify({ member: m.id }) },
    remove: { method: "DELETE", path: `${path}?configuration=${index}` },
  };
  const change = { method: "POST", path, headers: json, body: JSON.stringify({ type: what, configuration: index }) };
  const call = calls[/** @type {"lead"} */ (what)] || change;
  const moves = what === "lead";
  const { before, after, refused, warning } = preview(cluster.members, m.id, moves ? m.type : what === "remove" ? "gone" : what);
  const stale = fresh ? (cluster.leader ? null : "There is no leader who could do it.") : "What is shown is not live: wait until the server answers.";
  const down = moves && !isUp(m) ? `Server ${m.id} is not up.` : null;
  const titles = { lead: `Make server ${m.id} the leader`, remove: `Remove server ${m.id}` };
  const title = titles[/** @type {"lead"} */ (what)] || `Make server ${m.id} ${what}`;
  return html`<${Confirm} title=${title} call=${call} verb=${moves ? "Transfer" : what === "remove" ? "Remove" : "Change"} danger=${what === "remove"} refused=${stale || down || refused} onClose=${onClose} onDone=${onDone}>
    ${moves ? html`<p>Server ${cluster.leader ?? "–"} hands over to server ${m.id} once that has all of its log. Writes wait for about one round; sessions and locks go on.</p>` : html`
    <table class="compare"><caption class="offscreen">Quorum before and after</caption><thead><tr><th></th><th scope="col">Before</th><th scope="col">After</th></tr></thead><tbody>
      <tr><th scope="row">Voters</th><td>${before.voters}</td><td>${after.voters}</td></tr>
      <tr><th scope="row">Up</th><td>${before.up}</td><td>${after.up}</td></tr>
      <tr><th scope="row">Majority</th><td>${before.needed}</td><td>${after.needed}</td></tr>
      <tr><th scope="row">Can lose</th><td>${Math.max(0, before.spare)}</td><td>${after.spare < 0 ? "stops" : after.spare}</td></tr>
    </tbody></table>
    ${m.id === cluster.leader && html`<p class="caution">It leads: another is elected first.</p>`}`}
    ${warning && html`<p class="caution">${warning}</p>`}
    <p class="note">It names configuration ${index}: if somebody changed the members meanwhile, nothing is done.</p>
  </${Confirm}>`;
}

/** @param {{server: any, cluster: any}} props */
function Facts({ server: s, cluster }) {
  const facts = [
    ["Identity", html`<code>${s.identity}</code>`], ["Cluster", html`<code>${cluster.cluster_id || "not yet drawn"}</code>`], ["Version", s.version],
    ["Up for", duration(s.uptime_ms)], ["Role", s.role], ["Term", number(s.term)], ["Voted for", s.vote ? `server ${s.vote}` : "nobody"],
    ["Committed", number(s.commit_index)], ["Applied", number(s.applied_index)], ["Durable", number(s.log.durable_index)],
    ["State's digest", html`<code>${s.digest}</code>`], ["Compared through", number(s.compared_index)], ["Open sessions", number(s.sessions)],
    ["Log", `${count(s.log.segments, "segment")}, ${bytes(s.log.bytes)}`], ["Memory", bytes(s.memory_bytes)],
  ];
  return html`<dl class="facts">${facts.map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;
}
