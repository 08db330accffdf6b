// Keys: as a tree or by prefix, a page at a time; one of them beside the list.

import { get, named, toBytes, percent, unpercent, utf8 } from "../lib/api.js";
import { count, number, visible } from "../lib/format.js";
import { html, useEffect, useRef, useState } from "../lib/html.js";
import { Choice, Curl, Empty, Icon, NameText, Panel, Trouble } from "../lib/parts.js";
import { isFresh, live as store } from "../lib/live.js";
import { Table } from "../lib/table.js";
import { change, route } from "../lib/route.js";
import { Editor } from "./key.js";

const PAGE = 500;

/** As many names as a list in a page can be good for. */
const MOST = 200000;

/** How this server can be read now: without a leader, only what it has itself. @param {any} cluster */
export function consistency(cluster) {
  return cluster.leader ? "" : "&consistency=sequential";
}

/** @param {{live: typeof import("../lib/live.js").live, fresh: boolean, say: (text: string) => void}} props */
export default function Keys({ live, say }) {
  const { params } = route();
  const prefix = params.get("prefix") || "";
  const tree = params.get("view") !== "list";
  const key = params.get("key");
  const [typed, type] = useState(prefix);
  const [round, again] = useState(0);
  useEffect(() => type(visibleId(prefix)), [prefix]);
  const separator = tree ? "&separator=/" : "";
  const stale = consistency(live.state.cluster);
  const base = `/v1/kv?prefix=${prefix}&values=none&limit=${PAGE}${separator}${stale}`;
  const list = useListing(base, round);
  const search = (/** @type {Event} */ e) => {
    e.preventDefault();
    change({ prefix: percent(toBytes(typed)), key: null });
  };
  const open = (/** @type {any} */ row) => (row.folder ? change({ prefix: row.name.id }) : change({ key: row.name.id, create: null }));
  const show = (/** @type {any} */ name) => (tree && name.isText ? name.text.slice((utf8(unpercent(prefix)) || "").length) || name.text : name.text);
  const columns = [
    { title: "Key", width: "minmax(8rem, 1fr)", cell: (/** @type {any} */ r) => html`<span class="key-cell"><${Icon} of=${r.folder ? "folder" : "key"} /><${NameText} name=${{ ...r.name, text: r.name.isText ? show(r.name) : r.name.text }} show=${visible} />${r.folder && html`<span class="offscreen">, folder</span>`}</span>` },
    { title: "Version", width: "6rem", align: /** @type {"end"} */ ("end"), from: 380, cell: (/** @type {any} */ r) => (r.folder ? "" : number(r.item.version)) },
    { title: "Lives", width: "6.5rem", from: 520, cell: (/** @type {any} */ r) => (r.folder ? "" : owner(r.item)) },
    { title: "Type", width: "minmax(5rem, 12rem)", from: 640, cell: (/** @type {any} */ r) => (r.folder ? "" : html`<span class="muted">${r.item.content_type}</span>`) },
  ];
  const said = list.busy && list.rows.length === 0 ? "asking…" : `${count(list.rows.length, "name")}${list.next ? ", more below" : ""}`;
  return html`<h1>Keys</h1>
    <div class=${`split ${key || params.has("create") ? "open" : ""}`}>
      <${Panel} title="Browse" hint=${said} class="grow" actions=${html`<button type="button" class="primary" onClick=${() => change({ key: null, create: prefix || "1" })}>New key</button>`}>
        <form class="bar-form" role="search" onSubmit=${search}>
          <label class="field grow"><span class="offscreen">Keys that begin with</span><input value=${typed} placeholder="prefix: app/config/" onInput=${(/** @type {any} */ e) => type(e.currentTarget.value)} spellcheck=${false} autocomplete="off" /></label>
          <button type="submit">Find</button>
          <${Choice} label="How keys are listed" value=${tree ? "tree" : "list"} options=${[["tree", "Tree"], ["list", "List"]]} onChange=${(/** @type {string} */ v) => change({ view: v === "list" ? "list" : null })} />
          <${Curl} call=${{ path: base }} />
        </form>
        ${tree && html`<${Crumbs} prefix=${prefix} />`}
        ${stale && html`<p class="caution">No leader is known: this is what server ${live.state.server.id} has, as of index ${number(live.state.server.applied_index)}. It may be old.</p>`}
        <${Trouble} problem=${list.problem} />
        <${Table} label="Keys" columns=${columns} rows=${list.rows} rowKey=${(/** @type {any} */ r) => `${r.folder}${r.name.id}`} onOpen=${open} onEnd=${list.more} selected=${key ? `false${key}` : null}
          empty=${list.busy ? "Asking…" : html`<${Empty}>No key begins so.</${Empty}>`} />
      </${Panel}>
      ${(key || params.has("create")) && html`<${Editor} key=${key || "new"} id=${key} start=${params.get("create") || ""} live=${live} say=${say} onChanged=${() => again(round + 1)} />`}
    </div>`;
}

/** @param {string} id */
function visibleId(id) {
  const text = utf8(unpercent(id));
  return text === null ? id : text;
}

/** @param {any} item */
function owner(item) {
  if (item.session) return html`<span title="goes with its session">with ${item.session}</span>`;
  return item.ttl_ms ? html`<span title="from its last change on">${number(item.ttl_ms / 1000)} s</span>` : html`<span class="muted">until deleted</span>`;
}

/** The way down to a prefix. @param {{prefix: string}} props */
function Crumbs({ prefix }) {
  const text = visibleId(prefix);
  const levels = text.split("/").slice(0, -1);
  let path = "";
  return html`<nav class="crumbs" aria-label="Where in the tree"><button type="button" class="quiet" onClick=${() => change({ prefix: null })}>all</button>
    ${levels.map((level) => {
      path += `${level}/`;
      const to = percent(toBytes(path));
      return html`<span key=${to}><span aria-hidden="true">/</span><button type="button" class="quiet" onClick=${() => change({ prefix: to })}>${visible(level) || "(empty)"}</button></span>`;
    })}</nav>`;
}

/**
 * A list, page by page as it is scrolled. While it is one page only, it is kept up to date.
 * @param {string} base @param {number} round
 */
function useListing(base, round) {
  const [state, setState] = useState(/** @type {any} */ ({ base, rows: [], next: null, busy: true, problem: null }));
  const current = useRef("");
  const seen = useRef(-1);
  const busy = useRef(false);
  const length = useRef(0);
  length.current = state.rows.length;
  const load = async (/** @type {string | null} */ cursor) => {
    const mine = current.current;
    busy.current = true;
    try {
      const page = await get(`${base}${cursor ? `&cursor=${cursor}` : ""}`);
      if (mine !== current.current) return;
      const rows = page.items.map((/** @type {any} */ item) => (item.prefix === undefined ? { folder: false, name: named(item, "key"), item } : { folder: true, name: named(item, "prefix") }));
      setState((/** @type {any} */ s) => ({ base, rows: cursor ? [...s.rows, ...rows] : rows, next: page.next, busy: false, problem: null }));
    } catch (problem) {
      if (mine === current.current) setState((/** @type {any} */ s) => ({ ...s, busy: false, problem }));
    } finally {
      busy.current = false;
    }
  };
  useEffect(() => {
    current.current = `${base} ${round}`;
    seen.current = store.state.server.commit_index;
    setState((/** @type {any} */ s) => (s.base === base ? s : { base, rows: [], next: null, busy: true, problem: null }));
    void load(null);
  }, [base, round]);
  useEffect(() => {
    const timer = setInterval(() => {
      const now = store.state.server.commit_index;
      if (busy.current || now === seen.current || length.current > PAGE || document.hidden || !isFresh()) return;
      seen.current = now;
      void load(null);
    }, 2000);
    return () => clearInterval(timer);
  }, [base, round]);
  const more = () => {
    if (state.next && !busy.current && state.rows.length < MOST) void load(state.next);
  };
  return { ...state, more };
}

