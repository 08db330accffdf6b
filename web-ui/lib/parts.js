// What several pages are made of: buttons, states of loading, dialogs, curl lines.

import { Problem, ask, curl } from "./api.js";
import { html, useCallback, useEffect, useReducer, useRef, useState } from "./html.js";
import { isFresh, live, subscribe } from "./live.js";

/** Draws anew whenever something is heard. */
export function useLive() {
  const [, draw] = useReducer((/** @type {number} */ n) => n + 1, 0);
  useEffect(() => subscribe(() => draw(undefined)), []);
  return live;
}

/**
 * What is asked for again and again while the page is seen and not paused.
 * @template T
 * @param {(signal: AbortSignal) => Promise<T>} load
 * @param {any[]} about what it depends on
 * @param {{every?: number, quiet?: boolean}} [options] every so many ms; quiet: only if something was committed since
 * @returns {{data: T | undefined, problem: Problem | null, loading: boolean, refresh: () => void, at: number}}
 */
export function useAsked(load, about, { every = 0, quiet = false } = {}) {
  const [state, setState] = useState(/** @type {any} */ ({ data: undefined, problem: null, loading: true, at: 0 }));
  const [round, again] = useReducer((/** @type {number} */ n) => n + 1, 0);
  const seen = useRef(-1);
  useEffect(() => {
    setState((/** @type {any} */ s) => ({ ...s, data: undefined, problem: null, loading: true }));
  }, about);
  useEffect(() => {
    const stop = new AbortController();
    /** @type {ReturnType<typeof setTimeout>} */
    let timer;
    const step = async (/** @type {boolean} */ first) => {
      const commit = live.state?.server.commit_index;
      const idle = quiet && commit === seen.current && !first;
      if (first || (!document.hidden && isFresh() && !idle)) {
        try {
          const data = await load(stop.signal);
          if (stop.signal.aborted) return;
          seen.current = commit;
          setState({ data, problem: null, loading: false, at: performance.now() });
        } catch (e) {
          if (stop.signal.aborted) return;
          const problem = e instanceof Problem ? e : new Problem(0, { code: "fault", detail: String(e) });
          setState((/** @type {any} */ s) => ({ ...s, problem, loading: false }));
        }
      }
      if (every && !stop.signal.aborted) timer = setTimeout(() => step(false), every);
    };
    void step(true);
    return () => {
      stop.abort();
      clearTimeout(timer);
    };
  }, [...about, round]);
  return { ...state, refresh: useCallback(() => again(undefined), []) };
}

/** Copies text, also where the browser lets only users do so. @param {string} text */
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "offscreen";
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

/** @param {{call: import("./api.js").Call, label?: string}} props */
export function Curl({ call, label = "Copy as curl" }) {
  const [said, say] = useState("");
  const click = async () => {
    say((await copy(curl(call))) ? "Copied" : "Select and copy it");
    setTimeout(() => say(""), 1500);
  };
  return html`<button type="button" class="quiet" onClick=${click} title=${curl(call)}>
    <${Icon} of="copy" /><span aria-live="polite">${said || label}</span>
  </button>`;
}

/** Drawn, not written: fonts differ in what they have. */
const ICONS = {
  copy: "M5.5 5.5V3a1 1 0 0 1 1-1H13a1 1 0 0 1 1 1v6.500a1 1 0 0 1-1 1h-2.500M3 5.500h6.500a1 1 0 0 1 1 1V13a1 1 0 0 1-1 1H3a1 1 0 0 1-1-1V6.500a1 1 0 0 1 1-1z",
  pause: "M5 3v10M11 3v10",
  play: "M5 3l8 5-8 5z",
  theme: "M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2zM8 2v12M10 3v10M12 4.500v7",
  search: "M7 2.500a4.500 4.500 0 1 0 0 9 4.500 4.500 0 0 0 0-9zM10.500 10.500 14 14",
  close: "M3.500 3.500l9 9M12.500 3.500l-9 9",
  folder: "M2 4.500a1 1 0 0 1 1-1h3l1.500 1.700H13a1 1 0 0 1 1 1V12a1 1 0 0 1-1 1H3a1 1 0 0 1-1-1z",
  key: "M4 2.500h5.500L12.500 5.500V13a.5.5 0 0 1-.5.500H4a.5.5 0 0 1-.5-.500V3A.5.5 0 0 1 4 2.500zM9.500 2.500v3h3",
  pin: "M8 10v4M5 2.500h6l-1 4 1.500 3.500h-7L6 6.500z",
};

/** @param {{of: keyof typeof ICONS}} props */
export function Icon({ of }) {
  return html`<svg class="icon" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true"><path d=${ICONS[of]} /></svg>`;
}

/** Closes what it stands in. @param {{onClick: () => void}} props */
export function Close({ onClick }) {
  return html`<button type="button" class="quiet" onClick=${onClick} aria-label="Close"><${Icon} of="close" /></button>`;
}

/** @param {{problem: Problem | null}} props */
export function Trouble({ problem }) {
  if (!problem) return null;
  return html`<p class="trouble" role="alert"><span class="mark" aria-hidden="true">!</span>${problem.sentence}</p>`;
}

/** @param {{title: string, children?: any, hint?: any, actions?: any, class?: string, level?: string}} props */
export function Panel({ title, children, hint, actions, class: extra = "" }) {
  return html`<section class=${`panel ${extra}`}>
    <header class="panel-head"><h2>${title}</h2>${hint && html`<p class="hint">${hint}</p>`}<div class="actions">${actions}</div></header>
    ${children}
  </section>`;
}

/** A word with a mark before it: the mark's form tells what its colour tells. @param {{kind: "ok"|"warn"|"bad"|"info"|"off", children?: any, title?: string}} props */
export function Badge({ kind, children, title }) {
  const marks = { ok: "●", warn: "▲", bad: "✕", info: "◆", off: "○" };
  return html`<span class=${`badge ${kind}`} title=${title}><span aria-hidden="true">${marks[kind]}</span> ${children}</span>`;
}

/** @param {{children?: any}} props */
export function Empty({ children }) {
  return html`<p class="empty">${children}</p>`;
}

/** A bar of a share, with its number in words beside it. @param {{share: number, kind?: string, label: string}} props */
export function Bar({ share, kind = "info", label }) {
  const percent = Math.max(0, Math.min(1, share)) * 100;
  return html`<span class="bar-cell"><span class=${`bar ${kind}`} aria-hidden="true"><span style=${{ width: `${percent}%` }}></span></span><span class="bar-label">${label}</span></span>`;
}

/**
 * A dialog over the page; Escape closes it, and the focus goes back to where it was.
 * @param {{title: string, children?: any, onClose: () => void, wide?: boolean}} props
 */
export function Dialog({ title, children, onClose, wide }) {
  const ref = useRef(/** @type {HTMLDialogElement | null} */ (null));
  useEffect(() => {
    const before = document.activeElement;
    ref.current?.showModal();
    return () => {
      if (before instanceof HTMLElement) before.focus();
    };
  }, []);
  const id = `dialog-${title.replace(/\W+/g, "-")}`;
  const cancel = (/** @type {Event} */ e) => {
    e.preventDefault();
    onClose();
  };
  return html`<dialog ref=${ref} class=${wide ? "wide" : ""} aria-labelledby=${id} onCancel=${cancel}>
    <header class="panel-head"><h2 id=${id}>${title}</h2>
      <div class="actions"><${Close} onClick=${onClose} /></div></header>
    ${children}
  </dialog>`;
}

/**
 * A question before something is done, what it does, and the call that does it.
 * @param {object} props
 * @param {string} props.title
 * @param {any} [props.children]
 * @param {import("./api.js").Call} props.call
 * @param {string} props.verb
 * @param {boolean} [props.danger]
 * @param {string | null} [props.refused] why it cannot be done now
 * @param {() => void} props.onClose
 * @param {(answer: import("./api.js").Answer) => void} [props.onDone]
 */
export function Confirm({ title, children, call, verb, danger, refused, onClose, onDone }) {
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState(/** @type {Problem | null} */ (null));
  const run = async () => {
    setBusy(true);
    setProblem(null);
    try {
      const answer = await ask(call);
      onDone?.(answer);
      onClose();
    } catch (e) {
      setProblem(e instanceof Problem ? e : new Problem(0, { detail: String(e) }));
      setBusy(false);
    }
  };
  return html`<${Dialog} title=${title} onClose=${onClose}>
    <div class="dialog-body">
      ${children}
      <pre class="curl" tabindex="0" role="region" aria-label="The same as a command">${curl(call)}</pre>
      ${refused && html`<p class="trouble" role="alert"><span class="mark" aria-hidden="true">!</span>${refused}</p>`}
      <${Trouble} problem=${problem} />
    </div>
    <footer class="dialog-foot">
      <${Curl} call=${call} />
      <span class="spring"></span>
      <button type="button" onClick=${onClose}>Cancel</button>
      <button type="button" class=${danger ? "danger" : "primary"} disabled=${busy || Boolean(refused)} onClick=${run}>${busy ? "…" : verb}</button>
    </footer>
  </${Dialog}>`;
}

/** A name that a user gave: text, whatever is in it. @param {{name: import("./api.js").Name, show: (text: string) => string}} props */
export function NameText({ name, show }) {
  return html`<span class="name">${name.isText ? show(name.text) : html`<span class="tag" title="bytes that are no text, as base64">b64</span>${name.text}`}</span>`;
}

/** A text field that says what it is for. @param {any} props */
export function Field({ label, hint, ...rest }) {
  return html`<label class="field"><span>${label}</span><input autocomplete="off" spellcheck=${false} ...${rest} />${hint && html`<small>${hint}</small>`}</label>`;
}

/**
 * One of a few.
 * @param {{label: string, value: string, options: [string, string][], onChange: (value: string) => void}} props
 */
export function Choice({ label, value, options, onChange }) {
  return html`<fieldset class="choice"><legend class="offscreen">${label}</legend>
    ${options.map(([id, text]) => html`<label key=${id} class=${id === value ? "on" : ""}>
      <input type="radio" name=${label} checked=${id === value} onChange=${() => onChange(id)} />${text}</label>`)}
  </fieldset>`;
}
