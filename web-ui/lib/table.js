// A table of which only the rows that can be seen are in the page.

import { html, useEffect, useLayoutEffect, useRef, useState } from "./html.js";

/** Rows beyond the edges that are drawn too. */
const MARGIN = 8;

/**
 * @typedef {object} Column
 * @property {string} title
 * @property {(row: any) => any} cell
 * @property {string} [width] as in grid-template-columns
 * @property {"end"} [align]
 * @property {number} [from] shown where the table is at least this wide, in px
 */

let tables = 0;

/**
 * @param {object} props
 * @param {string} props.label
 * @param {Column[]} props.columns
 * @param {any[]} props.rows
 * @param {(row: any) => string} props.rowKey
 * @param {(row: any) => void} [props.onOpen] Enter, or a click
 * @param {string | null} [props.selected]
 * @param {() => void} [props.onEnd] the last rows come into sight
 * @param {number} [props.height] of a row, px
 * @param {any} [props.empty]
 * @param {boolean} [props.follow] keeps the end in sight while it was in sight
 * @param {number} [props.total] how many there are, if more than the rows here
 */
export function Table({ label, columns, rows, rowKey, onOpen, selected, onEnd, height = 30, empty, follow, total }) {
  const [id] = useState(() => `table-${(tables += 1)}`);
  const scroller = useRef(/** @type {HTMLDivElement | null} */ (null));
  const [view, setView] = useState({ top: 0, height: 600, width: 1000 });
  const [active, setActive] = useState(-1);
  const atEnd = useRef(true);

  const measure = () => {
    const element = scroller.current;
    if (!element) return;
    const next = { top: element.scrollTop, height: element.clientHeight, width: element.clientWidth };
    setView((old) => (old.top === next.top && old.height === next.height && old.width === next.width ? old : next));
  };
  useLayoutEffect(() => {
    measure();
    const observer = new ResizeObserver(measure);
    if (scroller.current) observer.observe(scroller.current);
    return () => observer.disconnect();
  }, []);
  useLayoutEffect(() => {
    const element = scroller.current;
    if (follow && atEnd.current && element) element.scrollTop = element.scrollHeight;
  }, [rows.length, rows.at(-1), follow]);

  const first = Math.max(0, Math.floor(view.top / height) - MARGIN);
  const last = Math.min(rows.length, Math.ceil((view.top + view.height) / height) + MARGIN);
  useEffect(() => {
    if (onEnd && last >= rows.length - MARGIN) onEnd();
  }, [last, rows.length]);

  const shown = columns.filter((column) => !column.from || view.width >= column.from);
  const template = { gridTemplateColumns: shown.map((column) => column.width || "minmax(0, 1fr)").join(" ") };
  const move = (/** @type {number} */ to) => {
    const next = Math.max(0, Math.min(rows.length - 1, to));
    setActive(next);
    const element = scroller.current;
    if (!element) return;
    const top = next * height;
    if (top < element.scrollTop) element.scrollTop = top;
    else if (top + 2 * height > element.scrollTop + element.clientHeight) element.scrollTop = top + 2 * height - element.clientHeight;
  };
  const key = (/** @type {KeyboardEvent} */ e) => {
    const page = Math.max(1, Math.floor(view.height / height) - 2);
    /** @type {Record<string, number>} */
    const steps = { ArrowDown: active + 1, ArrowUp: active - 1, PageDown: active + page, PageUp: active - page, Home: 0, End: rows.length - 1 };
    if (e.target !== scroller.current) return;
    const to = steps[e.key];
    if (to !== undefined) move(to);
    else if (e.key === "Enter" && active >= 0 && rows[active] && onOpen) onOpen(rows[active]);
    else return;
    e.preventDefault();
  };
  const scroll = () => {
    const element = scroller.current;
    if (element) atEnd.current = element.scrollTop + element.clientHeight > element.scrollHeight - 2 * height;
    measure();
  };
  const open = (/** @type {number} */ at) => {
    setActive(at);
    onOpen?.(rows[at]);
  };
  const visible = rows.slice(first, last);
  return html`<div class="table" role="grid" aria-label=${label} aria-rowcount=${(total ?? rows.length) + 1} tabindex="0" ref=${scroller}
      onScroll=${scroll} onKeyDown=${key} aria-activedescendant=${active >= first && active < last ? `${id}-${active}` : undefined}>
    <div class="table-head" role="row" aria-rowindex="1" style=${template}>
      ${shown.map((column) => html`<div role="columnheader" key=${column.title} class=${column.align || ""}>${column.title}</div>`)}
    </div>
    <div class="table-body" role="rowgroup" style=${{ height: `${rows.length * height}px` }}>
      ${visible.map((row, i) => {
        const at = first + i;
        const name = rowKey(row);
        const state = `${at === active ? " active" : ""}${name === selected ? " selected" : ""}${onOpen ? " opens" : ""}`;
        return html`<div role="row" key=${name} id=${`${id}-${at}`} class=${`table-row${state}`} aria-rowindex=${at + 2}
            aria-selected=${name === selected ? "true" : undefined} style=${{ ...template, top: `${at * height}px`, height: `${height}px` }}
            onClick=${onOpen ? () => open(at) : undefined}>
          ${shown.map((column) => html`<div role="gridcell" key=${column.title} class=${column.align || ""}>${column.cell(row)}</div>`)}
        </div>`;
      })}
    </div>
    ${rows.length === 0 && html`<div role="row" class="table-none" aria-rowindex="2"><div role="gridcell">${empty || "Nothing."}</div></div>`}
  </div>`;
}
