// One read at all three consistencies, side by side: what each costs, and what each may miss.

import { Problem, ask, percent, toBytes, unpercent, utf8, valueOf } from "../lib/api.js";
import { bytes as size, number, visible } from "../lib/format.js";
import { dump } from "../lib/hex.js";
import { html, useEffect, useState } from "../lib/html.js";
import { Badge, Curl, Panel } from "../lib/parts.js";
import { change, route } from "../lib/route.js";

const KINDS = /** @type {const} */ (["linearizable", "lease", "sequential"]);
const ABOUT = {
  linearizable: "As of a moment after the question: the leader asks a majority whether it still leads.",
  lease: "The same, without a round: while the leader's lease holds, nobody else can lead.",
  sequential: "What this server has applied. Fastest, and perhaps behind.",
};

/** @param {{live: typeof import("../lib/live.js").live}} props */
export default function Lens({ live }) {
  const id = route().params.get("key") || "";
  const [typed, type] = useState(utf8(unpercent(id)) ?? id);
  const [found, setFound] = useState(/** @type {Record<string, any>} */ ({}));
  const [again, setAgain] = useState(false);
  const look = async () => {
    if (!id) return;
    // One after another: side by side they would wait for each other.
    for (const kind of KINDS) {
      const call = { path: `/v1/kv?key=${id}&meta&consistency=${kind}` };
      const got = await ask(call).catch((e) => e);
      setFound((f) => ({ ...f, [kind]: { call, got, history: [...(f[kind]?.history || []), got instanceof Problem ? null : got.ms].slice(-40) } }));
    }
  };
  useEffect(() => {
    setFound({});
    void look();
  }, [id]);
  useEffect(() => {
    if (!again) return undefined;
    const timer = setInterval(() => void (document.hidden || look()), 1000);
    return () => clearInterval(timer);
  }, [again, id]);
  const submit = (/** @type {Event} */ e) => {
    e.preventDefault();
    const next = percent(toBytes(typed));
    if (next === id) void look();
    else change({ key: next });
  };
  // It was asked first: what saw less than it is behind.
  const first = Number(found.linearizable?.got.headers?.get("copycat-index") || 0);
  return html`<h1>Read lens</h1>
    <${Panel} title="One key, read three ways" hint=${`asked of server ${live.state.server.id}`}>
      <form class="bar-form" onSubmit=${submit}>
        <label class="field grow"><span class="offscreen">Key</span><input value=${typed} placeholder="key" required onInput=${(/** @type {any} */ e) => type(e.currentTarget.value)} spellcheck=${false} autocomplete="off" /></label>
        <button type="submit" class="primary">Read</button>
        <button type="button" aria-pressed=${again} onClick=${() => setAgain(!again)} disabled=${!id}>${again ? "Stop" : "Every second"}</button>
      </form>
    </${Panel}>
    <div class="lens">${KINDS.map((kind) => html`<${One} key=${kind} kind=${kind} found=${found[kind]} first=${first} />`)}</div>`;
}

/** @param {{kind: (typeof KINDS)[number], found: any, first: number}} props */
function One({ kind, found, first }) {
  const { got, call, history } = found || {};
  const failed = got instanceof Problem;
  const head = (/** @type {string} */ name) => got?.headers?.get(name);
  const served = head("copycat-consistency");
  const index = Number(head("copycat-index") || 0);
  const value = got && !failed ? valueOf(got.json) : null;
  const text = value && utf8(value);
  return html`<${Panel} title=${kind} hint=${ABOUT[kind]} actions=${call && html`<${Curl} call=${call} />`}>
    ${!got ? html`<p class="empty">Not yet asked.</p>` : failed ? html`<p class=${got.code === "key_not_found" ? "empty" : "trouble"} role="status">${got.code === "key_not_found" ? "There is no such key." : got.sentence}</p>` : html`
      <dl class="facts"><div><dt>Latency</dt><dd>${got.ms.toFixed(1)} ms</dd></div><div><dt>Served by</dt><dd>server ${head("copycat-served-by")}</dd></div>
        <div><dt>Index seen</dt><dd>${number(index)}${index < first ? html` <${Badge} kind="warn">${number(first - index)} behind</${Badge}>` : ""}</dd></div><div><dt>Term</dt><dd>${head("copycat-term")}</dd></div>
        <div><dt>Served as</dt><dd>${served === kind ? served : html`<${Badge} kind="warn">${served}</${Badge}>`}</dd></div><div><dt>Version</dt><dd>${number(got.json.version)}</dd></div><div><dt>Size</dt><dd>${size(value?.length)}</dd></div></dl>
      <pre tabindex="0" role="region" aria-label=${`Value, ${kind}`}>${text === null ? dump(value || new Uint8Array(), 4096) : visibleLines(text || "")}</pre>
      <${Spark} values=${history} />`}
  </${Panel}>`;
}

/** @param {string} text */
function visibleLines(text) {
  return text.slice(0, 4096).split("\n").map(visible).join("\n");
}

/** @param {{values: (number | null)[]}} props */
function Spark({ values }) {
  if (values.length < 2) return null;
  const most = Math.max(1, ...values.map((v) => v || 0));
  const points = values.map((v, i) => `${(i / (values.length - 1)) * 200},${v === null ? 38 : 38 - (v / most) * 34}`);
  return html`<figure class="spark"><svg viewBox="0 0 200 40" preserveAspectRatio="none" role="img" aria-label=${`Latency of the last ${values.length} reads, at most ${most.toFixed(1)} ms`}><polyline points=${points.join(" ")} /></svg><figcaption>at most ${most.toFixed(1)} ms in ${values.length} reads</figcaption></figure>`;
}
