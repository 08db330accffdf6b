// The frame: which server this is, how the cluster is, how fresh that is, and the page that the hash names.

import { count, duration } from "./lib/format.js";
import { health } from "./lib/health.js";
import { html, render, useEffect, useReducer, useRef, useState } from "./lib/html.js";
import { STALE, age, isFresh, live, others, pageAt, pause, start } from "./lib/live.js";
import { Badge, Dialog, Icon, useLive } from "./lib/parts.js";
import { change, go, href, route } from "./lib/route.js";
import { percent, toBytes } from "./lib/api.js";
import Overview from "./pages/overview.js";

/** Pages, and the key that goes there; all but the first are loaded when they are wanted. */
const PAGES = [
  { id: "overview", title: "Overview", load: async () => Overview },
  { id: "members", title: "Members", load: async () => (await import("./pages/members.js")).default },
  { id: "elections", title: "Elections", load: async () => (await import("./pages/elections.js")).default },
  { id: "log", title: "Log", load: async () => (await import("./pages/log.js")).default },
  { id: "keys", title: "Keys", load: async () => (await import("./pages/keys.js")).default },
  { id: "sessions", title: "Sessions", load: async () => (await import("./pages/sessions.js")).default },
  { id: "locks", title: "Locks", load: async () => (await import("./pages/locks.js")).default },
  { id: "tail", title: "Live tail", load: async () => (await import("./pages/tail.js")).default },
  { id: "lens", title: "Read lens", load: async () => (await import("./pages/lens.js")).default },
];

/** Light or dark: as chosen, else as the system has it. */
function theme() {
  const chosen = route().params.get("theme") || stored();
  return chosen === "light" || chosen === "dark" ? chosen : matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
}

function stored() {
  try {
    return localStorage.getItem("theme");
  } catch {
    return null;
  }
}

function App() {
  useLive();
  const [, draw] = useReducer((/** @type {number} */ n) => n + 1, 0);
  const [searching, setSearching] = useState(false);
  const [said, setSaid] = useState("");
  const { page } = route();
  const Page = usePage(page);
  useEffect(() => {
    const redraw = () => draw(undefined);
    addEventListener("hashchange", redraw);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
    const keys = (/** @type {KeyboardEvent} */ e) => {
      const target = /** @type {HTMLElement} */ (e.target);
      const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName);
      if ((e.key === "/" && !typing) || (e.key === "k" && (e.ctrlKey || e.metaKey))) {
        e.preventDefault();
        setSearching(true);
      }
    };
    addEventListener("keydown", keys);
    return () => removeEventListener("keydown", keys);
  }, []);
  const now = theme();
  useEffect(() => {
    document.documentElement.dataset.theme = now;
  }, [now]);
  useEffect(() => {
    // On narrow screens the pages are a strip that scrolls.
    document.querySelector(".side [aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }, [page]);
  const title = PAGES.find((p) => p.id === page)?.title || "Copycat";
  useEffect(() => {
    document.title = `${title} · Copycat${live.state ? `, server ${live.state.server.id}` : ""}`;
  }, [title, live.state?.server.id]);
  useEffect(() => {
    if (!said) return undefined;
    const timer = setTimeout(() => setSaid(""), 6000);
    return () => clearTimeout(timer);
  }, [said]);
  const known = Boolean(live.state);
  useEffect(() => {
    // For whoever measures how long that took.
    if (known) performance.mark("copycat-shown");
  }, [known]);
  const fresh = isFresh();
  return html`<a class="skip" href="#main" onClick=${(/** @type {Event} */ e) => { e.preventDefault(); document.getElementById("main")?.focus(); }}>To the page</a>
    <${Top} theme=${now} fresh=${fresh} onSearch=${() => setSearching(true)} />
    <nav class="side" aria-label="Pages"><ul>${PAGES.map((p) => html`<li key=${p.id}><a href=${href(p.id)} aria-current=${p.id === page ? "page" : undefined}>${p.title}</a></li>`)}</ul></nav>
    <main id="main" tabindex="-1" class=${fresh || !live.state ? "" : "is-stale"}>
      <${Notices} fresh=${fresh} />
      ${live.state && Page ? html`<${Page} live=${live} theme=${now} fresh=${fresh} say=${setSaid} />` : html`<p class="boot" role="status">${live.state ? "Loading the page." : "Asking the server how it is."}</p>`}
    </main>
    <div class="said" role="status" aria-live="polite">${said && html`<span><b aria-hidden="true">✓</b> ${said}</span>`}</div>
    ${searching && html`<${Search} onClose=${() => setSearching(false)} />`}`;
}

/** @param {string} id */
function usePage(id) {
  const [loaded, setLoaded] = useState(/** @type {Record<string, any>} */ ({ overview: Overview }));
  useEffect(() => {
    const page = PAGES.find((p) => p.id === id);
    if (!page) go("overview");
    else if (!loaded[id]) page.load().then((component) => setLoaded((all) => ({ ...all, [id]: component })), () => {});
  }, [id, live.phase]);
  return loaded[id];
}

/** @param {{theme: string, fresh: boolean, onSearch: () => void}} props */
function Top({ theme: now, fresh, onSearch }) {
  const { state } = live;
  const { kind, text } = health(state, fresh);
  const other = now === "dark" ? "light" : "dark";
  const toggle = () => {
    try {
      localStorage.setItem("theme", other);
    } catch {
      // Without a store, the choice is kept in the URL alone.
    }
    change({ theme: other });
  };
  const name = state?.cluster.cluster_id ? state.cluster.cluster_id.slice(0, 8) : "…";
  const choose = (/** @type {any} */ e) => {
    const url = e.currentTarget.value;
    if (url) location.assign(pageAt(url));
  };
  return html`<header class="top">
    <a class="brand" href=${href("overview")}><img src="/ui/icon.svg" alt="" width="22" height="22" /><b>Copycat</b> <span class="cluster" title=${state?.cluster.cluster_id || ""}>${name}</span></a>
    <p class="health" role="status" aria-live="polite"><${Badge} kind=${kind}>${text}</${Badge}></p>
    <div class="controls">
      <${Pill} fresh=${fresh} />
      ${state && html`<label class="through"><span>through</span><select value="" onChange=${choose} aria-label="The server that you look through"><option value="">server ${state.server.id}</option>${others().map((o) => html`<option key=${o.id} value=${o.url}>server ${o.id}${o.id === state.cluster.leader ? ", leader" : ""}</option>`)}</select></label>`}
      <button type="button" onClick=${() => pause(live.phase !== "paused")} aria-pressed=${live.phase === "paused"} title="Hold what is shown" aria-label=${live.phase === "paused" ? "Resume" : "Pause"}><${Icon} of=${live.phase === "paused" ? "play" : "pause"} /><span class="word">${live.phase === "paused" ? "Resume" : "Pause"}</span></button>
      <button type="button" onClick=${toggle} aria-label=${`Change to ${other}`} title=${`Change to ${other}`}><${Icon} of="theme" /></button>
      <button type="button" onClick=${onSearch} title="Search: /" aria-label="Search"><${Icon} of="search" /><span class="word">Search <kbd>/</kbd></span></button>
    </div>
  </header>`;
}

/** Whether something is heard, and how old it is. @param {{fresh: boolean}} props */
function Pill({ fresh }) {
  const old = live.state ? age() : 0;
  /** @type {Record<string, [string, "ok" | "warn" | "bad" | "off", string]>} */
  const words = {
    connecting: ["connecting", "off", "Asking the server"], live: ["live", "ok", "Events as they happen"], polling: ["polling", "warn", "Streams do not get through: asked each second"],
    paused: ["paused", "off", "What is shown is held"], asleep: ["asleep", "off", "The page was hidden"], lost: ["no answer", "bad", "This server does not answer; others are looked for"],
  };
  const [word, kind, about] = fresh || live.phase !== "live" ? words[live.phase] : ["late", /** @type {"warn"} */ ("warn"), "Nothing was heard for a while"];
  return html`<span class="pill" title=${about}><${Badge} kind=${kind}>${word}</${Badge}><span class=${`age ${old > STALE ? "old" : ""}`}>${live.state ? `${old < 1500 ? (old / 1000).toFixed(0) === "0" ? "<1" : "1" : Math.round(old / 1000)} s old` : ""}</span></span>`;
}

/** @param {{fresh: boolean}} props */
function Notices({ fresh }) {
  const { state } = live;
  const [hidden, hide] = useState(false);
  return html`
    ${live.movedFrom && !hidden && state && html`<p class="notice" role="status"><span><b>Server ${live.movedFrom} did not answer.</b> You look through server ${state.server.id} now.</span><button type="button" class="quiet" onClick=${() => { hide(true); change({ left: null }); }}>All right</button></p>`}
    ${live.offer && html`<p class="notice bad" role="alert"><span><b>This server does not answer.</b> What you are writing is not saved: copy it, then go on through another server.</span><a class="button" href=${live.offer} onClick=${() => { live.unsaved = false; }}>Go on there</a></p>`}
    ${state && !fresh && live.phase !== "connecting" && html`<p class="notice stale-note" role="status"><span><b>Not live.</b> ${live.phase === "paused" ? "Paused by you." : "This is how it was"} ${live.phase === "paused" ? "" : `${duration(age())} ago, as server ${state.server.id} knew it.`}</span>
      ${live.phase === "lost" && html`<span class="row">${others().map((o) => html`<a key=${o.id} class="button" href=${pageAt(o.url, state.server.id)} onClick=${() => { live.unsaved = false; }}>Try server ${o.id}</a>`)}</span>`}</p>`}
    ${state && fresh && !state.cluster.leader && html`<p class="notice bad" role="alert"><span><b>No quorum that this server knows of.</b> What you see is server ${state.server.id}'s own view: what it says of the others is as last heard.</span></p>`}`;
}

/** Goes anywhere by typing. @param {{onClose: () => void}} props */
function Search({ onClose }) {
  const [text, setText] = useState("");
  const [at, setAt] = useState(0);
  const input = useRef(/** @type {HTMLInputElement | null} */ (null));
  useEffect(() => input.current?.focus(), []);
  const found = targets(text.trim());
  const run = (/** @type {{run: () => void} | undefined} */ target) => {
    if (!target) return;
    onClose();
    target.run();
  };
  const key = (/** @type {KeyboardEvent} */ e) => {
    if (e.key === "ArrowDown" || e.key === "ArrowUp") {
      e.preventDefault();
      setAt((at + (e.key === "ArrowDown" ? 1 : found.length - 1)) % Math.max(1, found.length));
    } else if (e.key === "Enter") {
      e.preventDefault();
      // By what is typed, which may not be shown yet.
      run(targets(/** @type {HTMLInputElement} */ (e.currentTarget).value.trim())[at]);
    }
  };
  return html`<${Dialog} title="Search" onClose=${onClose}>
    <div class="dialog-body search">
      <input ref=${input} autofocus role="combobox" aria-expanded="true" aria-controls="search-list" aria-activedescendant=${found.length ? `search-${at}` : undefined} aria-label="A page, a server, a key, a session, a lock" placeholder="a page, a server, a key, a session, a lock" value=${text} onInput=${(/** @type {any} */ e) => { setText(e.currentTarget.value); setAt(0); }} onKeyDown=${key} spellcheck=${false} autocomplete="off" />
      <ul id="search-list" role="listbox" aria-label=${count(found.length, "place")}>${found.map((t, i) => html`<li key=${t.title} id=${`search-${i}`} role="option" aria-selected=${i === at ? "true" : "false"} onClick=${() => run(t)}><span>${t.title}</span><small>${t.about}</small></li>`)}</ul>
    </div>
  </${Dialog}>`;
}

/** @param {string} text @returns {{title: string, about: string, run: () => void}[]} */
function targets(text) {
  const low = text.toLowerCase();
  const found = PAGES.filter((p) => !low || p.title.toLowerCase().includes(low)).map((p) => ({ title: p.title, about: "page", run: () => go(p.id) }));
  for (const o of others()) {
    if (`server ${o.id}`.includes(low)) found.push({ title: `Server ${o.id}`, about: "look through it", run: () => location.assign(pageAt(o.url)) });
  }
  if (text) {
    const id = percent(toBytes(text));
    found.push({ title: `Key ${text}`, about: "open it", run: () => go("keys", { key: id }) }, { title: `Keys below ${text}`, about: "list them", run: () => go("keys", { prefix: id, view: "list" }) });
    if (/^\d+$/.test(text)) found.push({ title: `Session ${text}`, about: "open it", run: () => go("sessions", { session: text }) }, { title: `Log entry ${text}`, about: "open it", run: () => go("log", { from: text }) });
    found.push({ title: `Lock ${text}`, about: "open it", run: () => go("locks", { lock: id }) });
  }
  return found.slice(0, 14);
}

document.documentElement.dataset.theme = theme();
const place = document.getElementById("app");
if (place) {
  place.replaceChildren();
  render(html`<${App} />`, place);
}
start();
