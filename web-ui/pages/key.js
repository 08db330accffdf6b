// One key: what it holds, as text, JSON or bytes; changes on the condition that nobody else has changed it meanwhile.

import { Problem, ask, get, percent, toBytes, unpercent, utf8, valueOf, nameOf } from "../lib/api.js";
import { apiDuration, bytes as size, number, visible } from "../lib/format.js";
import { diff } from "../lib/diff.js";
import { dump, parse, plain } from "../lib/hex.js";
import { html, useEffect, useState } from "../lib/html.js";
import { live as store } from "../lib/live.js";
import { Choice, Close, Confirm, Curl, Dialog, Field, Panel, Trouble, useAsked } from "../lib/parts.js";
import { change } from "../lib/route.js";

/** Larger values are shown when that is asked for, */
const GUARD = 64 * 1024;
/** and of these, only the beginning; nor are they edited here. */
const MOST = 1024 * 1024;

/** @param {string} id */
const path = (id) => `/v1/kv?key=${id}`;

/** @param {{id: string | null, start: string, live: typeof store, say: (text: string) => void, onChanged: () => void}} props */
export function Editor({ id, start, live, say, onChanged }) {
  return id ? html`<${Existing} id=${id} live=${live} say=${say} onChanged=${onChanged} />` : html`<${New} start=${start} say=${say} onChanged=${onChanged} />`;
}

const close = () => change({ key: null, create: null });

/** @param {{start: string, say: (text: string) => void, onChanged: () => void}} props */
function New({ start, say, onChanged }) {
  const [name, setName] = useState(start === "1" ? "" : utf8(unpercent(start)) || "");
  const [text, setText] = useState("");
  const [ttl, setTtl] = useState("");
  const [problem, setProblem] = useState(/** @type {Problem | null} */ (null));
  useUnsaved(text !== "");
  const id = percent(toBytes(name));
  const call = { method: "PUT", path: `${path(id)}${ttl ? `&ttl=${encodeURIComponent(ttl)}` : ""}`, headers: { "If-None-Match": "*", "Content-Type": "text/plain; charset=utf-8" }, body: toBytes(text) };
  const save = async (/** @type {Event} */ e) => {
    e.preventDefault();
    try {
      await ask(call);
      store.unsaved = false;
      say(`Key ${visible(name)} is made.`);
      change({ key: id, create: null });
      onChanged();
    } catch (wrong) {
      setProblem(wrong instanceof Problem ? wrong : null);
    }
  };
  return html`<${Panel} title="A new key" class="grow detail" actions=${html`<${Curl} call=${call} /><${Close} onClick=${close} />`}>
    <form class="form" onSubmit=${save}>
      <${Field} label="Key" value=${name} onInput=${(/** @type {any} */ e) => setName(e.currentTarget.value)} required maxlength="4096" />
      <label class="field"><span>Value</span><textarea rows="8" value=${text} onInput=${(/** @type {any} */ e) => setText(e.currentTarget.value)} spellcheck=${false}></textarea></label>
      <${Field} label="Time to live" hint="such as 30s or 5m; empty: until it is deleted" value=${ttl} onInput=${(/** @type {any} */ e) => setTtl(e.currentTarget.value)} />
      <${Trouble} problem=${problem} />
      <div class="row"><button type="submit" class="primary" disabled=${name === ""}>Create</button><span class="note">Only if there is no such key.</span></div>
    </form>
  </${Panel}>`;
}

/** While something is unsaved, nobody moves to another server. @param {boolean} unsaved */
function useUnsaved(unsaved) {
  useEffect(() => {
    store.unsaved = unsaved;
    return () => {
      store.unsaved = false;
    };
  }, [unsaved]);
}

/**
 * The key as it is, or how large it is where that is too much to fetch unasked.
 * @param {string} id @param {boolean} anyway @param {string} stale
 */
async function load(id, anyway, stale) {
  if (!anyway) {
    const head = await ask({ method: "HEAD", path: path(id) + stale }).catch((e) => e);
    // A HEAD has no body that could say what is wrong: the read behind it says it.
    const length = head instanceof Problem ? 0 : Number(head.headers.get("content-length"));
    if (length > GUARD) return { guarded: length };
  }
  return { item: await get(`${path(id)}&meta${stale}`) };
}

/** @param {{id: string, live: typeof store, say: (text: string) => void, onChanged: () => void}} props */
function Existing({ id, live, say, onChanged }) {
  const [view, setView] = useState("text");
  const [draft, setDraft] = useState(/** @type {any} */ (null));
  const [conflict, setConflict] = useState(/** @type {any} */ (null));
  const [deleting, setDeleting] = useState(false);
  const [anyway, setAnyway] = useState(false);
  const name = nameOf(unpercent(id));
  const stale = live.state.cluster.leader ? "" : "&consistency=sequential";
  const asked = useAsked(() => load(id, anyway, stale), [id, anyway, stale], { every: 1000, quiet: true });
  const guarded = asked.data?.guarded || 0;
  // While somebody edits, what it began from stays.
  const item = draft ? draft.item : asked.problem ? null : asked.data?.item;
  useUnsaved(Boolean(draft));
  const bytes = item ? valueOf(item) : new Uint8Array();
  const text = utf8(bytes);
  const edit = () => {
    const hex = text === null || view === "hex";
    setDraft({ text: hex ? plain(bytes) : text || "", hex, ttl: item.ttl_ms ? apiDuration(item.ttl_ms) : "", version: item.version, item });
  };
  const saved = (/** @type {any} */ answer) => {
    setDraft(null);
    setConflict(null);
    say(`Key ${visible(name.text)} is at version ${answer.json.version ?? "–"}.`);
    asked.refresh();
    onChanged();
  };
  const gone = asked.problem?.code === "key_not_found" && !draft;
  const actions = html`<${Curl} call=${{ path: `${path(id)}&meta` }} />
    ${item && !draft && html`<button type="button" onClick=${edit} disabled=${bytes.length > MOST}>Edit</button><button type="button" class="danger-quiet" onClick=${() => setDeleting(true)}>Delete</button>`}
    <${Close} onClick=${close} />`;
  return html`<${Panel} title=${visible(name.text)} hint=${name.isText ? "" : "bytes that are no text, as base64"} class="grow detail" actions=${actions}>
    ${gone ? html`<p class="empty">There is no such key any more.</p>` : html`<${Trouble} problem=${draft ? null : asked.problem} />`}
    ${guarded > 0 && html`<p class="caution">Its value has ${size(guarded)}. <button type="button" onClick=${() => setAnyway(true)}>Show it anyway</button></p>`}
    ${item && html`<${About} item=${item} length=${bytes.length} />`}
    ${item && !draft && html`<${Value} bytes=${bytes} text=${text} view=${view} onView=${setView} />`}
    ${draft && html`<${Draft} id=${id} item=${item} draft=${draft} onDraft=${setDraft} onSaved=${saved} onConflict=${setConflict} />`}
    ${conflict && draft && html`<${Conflict} name=${name} conflict=${conflict} draft=${draft} onClose=${() => setConflict(null)}
      onTheirs=${() => { setConflict(null); setDraft(null); asked.refresh(); }} onMine=${() => { setDraft({ ...draft, version: conflict.version }); setConflict(null); }} />`}
    ${deleting && html`<${Confirm} title="Delete this key" verb="Delete" danger onClose=${() => setDeleting(false)} onDone=${() => { say(`Key ${visible(name.text)} is deleted.`); close(); onChanged(); }}
      call=${{ method: "DELETE", path: path(id), headers: { "If-Match": `"${item.version}"` } }}>
      <p>Key <b class="name">${visible(name.text)}</b>, if it still is at version ${number(item.version)}.</p></${Confirm}>`}
  </${Panel}>`;
}

/** @param {{item: any, length: number}} props */
function About({ item, length }) {
  const lives = item.session ? html`with <a href=${`#/sessions?session=${item.session}`}>session ${item.session}</a>` : item.ttl_ms ? `${apiDuration(item.ttl_ms)} from its last change` : "until it is deleted";
  const facts = [["Version", number(item.version)], ["Made at", number(item.created_index)], ["Type", item.content_type], ["Size", size(length)], ["Lives", lives]];
  return html`<dl class="facts">${facts.map(([k, v]) => html`<div key=${k}><dt>${k}</dt><dd>${v}</dd></div>`)}</dl>`;
}

/** @param {string | null} text */
function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text || ""), null, 2);
  } catch {
    return null;
  }
}

/** @param {{bytes: Uint8Array, text: string | null, view: string, onView: (view: string) => void}} props */
function Value({ bytes, text, view, onView }) {
  const json = pretty(text);
  /** @type {[string, string][]} */
  const options = [["text", "Text"], ["json", "JSON"], ["hex", "Hex"]];
  const able = options.filter(([v]) => v === "hex" || (v === "text" ? text !== null : json !== null));
  const now = able.some(([v]) => v === view) ? view : able[0][0];
  const shown = now === "hex" ? dump(bytes, GUARD) : now === "json" ? json : text;
  return html`<div class="value"><${Choice} label="Shown as" value=${now} options=${able} onChange=${onView} />
    <pre tabindex="0" role="region" aria-label="Value">${(shown || "").slice(0, MOST) || html`<span class="muted">(the empty value)</span>`}</pre>
    ${now === "hex" && bytes.length > GUARD && html`<p class="note">The first ${size(GUARD)} of ${size(bytes.length)}.</p>`}</div>`;
}

/** @param {{id: string, item: any, draft: any, onDraft: (draft: any) => void, onSaved: (answer: any) => void, onConflict: (conflict: any) => void}} props */
function Draft({ id, item, draft, onDraft, onSaved, onConflict }) {
  const [problem, setProblem] = useState(/** @type {Problem | null} */ (null));
  const body = draft.hex ? parse(draft.text) : toBytes(draft.text);
  const isJson = /json/.test(item.content_type);
  const broken = body === null ? "That is no hexadecimal." : isJson && !draft.hex && pretty(draft.text) === null ? "That is no JSON, which its type says it is." : null;
  // Ephemeral keys stay their session's own.
  const life = item.session ? `&session=${item.session}&ephemeral` : draft.ttl ? `&ttl=${encodeURIComponent(draft.ttl)}` : "";
  const call = { method: "PUT", path: path(id) + life, headers: { "If-Match": `"${draft.version}"`, "Content-Type": item.content_type }, body: body || new Uint8Array() };
  const save = async (/** @type {Event} */ e) => {
    e.preventDefault();
    setProblem(null);
    try {
      onSaved(await ask(call));
    } catch (wrong) {
      const theirs = wrong instanceof Problem && wrong.code === "version_mismatch" ? await get(`${path(id)}&meta`).catch(() => null) : null;
      if (theirs) onConflict(theirs);
      else setProblem(wrong instanceof Problem ? wrong : null);
    }
  };
  return html`<form class="form" onSubmit=${save}>
    <label class="field"><span>${draft.hex ? "Value, hexadecimal" : "Value"}</span><textarea rows="12" class="mono" value=${draft.text} spellcheck=${false} onInput=${(/** @type {any} */ e) => onDraft({ ...draft, text: e.currentTarget.value })}></textarea></label>
    ${!item.session && html`<${Field} label="Time to live" hint="from now on; empty: until it is deleted" value=${draft.ttl} onInput=${(/** @type {any} */ e) => onDraft({ ...draft, ttl: e.currentTarget.value })} />`}
    ${broken && html`<p class="caution" role="status">${broken}</p>`}
    <${Trouble} problem=${problem} />
    <div class="row"><button type="submit" class="primary" disabled=${body === null}>Save</button><button type="button" onClick=${() => onDraft(null)}>Discard</button><${Curl} call=${call} />
      <span class="note">Only if it still is at version ${number(draft.version)}.</span></div>
  </form>`;
}

/** Somebody was faster: what they wrote, and what is written here. @param {any} props */
function Conflict({ name, conflict, draft, onClose, onTheirs, onMine }) {
  const theirs = utf8(valueOf(conflict));
  const lines = draft.hex || theirs === null ? diff(plain(valueOf(conflict)), draft.text) : diff(theirs, draft.text);
  const signs = { same: " ", out: "−", in: "+" };
  return html`<${Dialog} title="Somebody else changed it meanwhile" onClose=${onClose} wide>
    <div class="dialog-body">
      <p><b class="name">${visible(name.text)}</b> is now at version ${number(conflict.version)}; yours began from ${number(draft.version)}. <span class="out">− theirs</span> <span class="in">+ yours</span></p>
      <pre class="diff" tabindex="0" role="region" aria-label="Differences">${lines.map((l, i) => html`<span key=${i} class=${l.kind}>${signs[l.kind]} ${l.text}\n</span>`)}</pre>
    </div>
    <footer class="dialog-foot"><button type="button" onClick=${onTheirs}>Take theirs</button><span class="spring"></span><button type="button" onClick=${onClose}>Go on editing</button>
      <button type="button" class="primary" onClick=${onMine}>Keep mine, against version ${number(conflict.version)}</button></footer>
  </${Dialog}>`;
}

