// Lines over time, by uPlot. What a line is, is told by its dashes and by its name too, and the latest numbers stand below as
// text.

import uPlot from "../vendor/uplot.js";
import { clock } from "./format.js";
import { html, useEffect, useRef } from "./html.js";

/** @typedef {{name: string, values: (number | null)[], color: number, dash?: number[], unit?: string}} Line */

const DASHES = [[], [8, 3], [2, 3], [10, 3, 2, 3], [5, 5], [1, 2], [12, 4], [4, 2, 1, 2]];

/** Of a logarithmic axis, only the powers of ten. @param {any} _u @param {(number | null)[]} marks */
function decades(_u, marks) {
  return marks.map((v) => (v !== null && v > 0 && Number.isInteger(Math.round(Math.log10(v) * 1e6) / 1e6) ? v : null));
}

/** The colours of the page as it is now, light or dark. @param {HTMLElement} element */
function palette(element) {
  const style = getComputedStyle(element);
  const one = (/** @type {string} */ name) => style.getPropertyValue(name).trim();
  return { text: one("--muted"), grid: one("--line"), series: [1, 2, 3, 4, 5, 6, 7, 8].map((n) => one(`--series-${n}`)) };
}

/**
 * @param {object} props
 * @param {string} props.label
 * @param {number[]} props.times in seconds
 * @param {Line[]} props.lines
 * @param {(value: number) => string} props.show
 * @param {boolean} [props.log]
 * @param {string} props.theme
 * @param {number} [props.height]
 */
export function Chart({ label, times, lines, show, log = false, theme, height = 170 }) {
  const place = useRef(/** @type {HTMLDivElement | null} */ (null));
  const plot = useRef(/** @type {any} */ (null));
  const shape = `${theme} ${log} ${lines.map((l) => l.name).join("\n")}`;
  useEffect(() => {
    const element = place.current;
    if (!element) return undefined;
    const colors = palette(element);
    const font = "11px system-ui, sans-serif";
    const axis = { stroke: colors.text, font, grid: { stroke: colors.grid, width: 1 }, ticks: { show: false } };
    const made = new uPlot({
      width: element.clientWidth || 300,
      height,
      padding: [8, 8, 0, 0],
      cursor: { drag: { x: false, y: false }, y: false, points: { size: 6 } },
      legend: { show: false },
      scales: { y: log ? { distr: 3 } : { range: (/** @type {any} */ _u, /** @type {number} */ _min, /** @type {number} */ max) => [0, max > 0 ? max * 1.1 : 1] } },
      axes: [
        { ...axis, space: 76, size: 26, values: (/** @type {any} */ _u, /** @type {number[]} */ marks) => marks.map((t) => clock(t * 1000).slice(0, 8)) },
        { ...axis, ...(log ? { filter: decades, grid: { stroke: colors.grid, width: 1, filter: decades } } : {}), size: 52, space: 34, values: (/** @type {any} */ _u, /** @type {(number | null)[]} */ marks) => marks.map((v) => (v === null ? "" : show(v))) },
      ],
      series: [{}, ...lines.map((line, i) => ({ label: line.name, stroke: colors.series[line.color % 8], width: 1.5, dash: line.dash || DASHES[i % 8], points: { show: false }, spanGaps: false }))],
    }, [times, ...lines.map((l) => l.values)], element);
    plot.current = made;
    const observer = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height }));
    observer.observe(element);
    return () => {
      observer.disconnect();
      made.destroy();
    };
  }, [shape]);
  useEffect(() => {
    plot.current?.setData([times, ...lines.map((l) => l.values)]);
  }, [times, shape]);
  const latest = (/** @type {Line} */ line) => {
    const value = line.values.findLast((v) => v !== null && v !== undefined);
    return value === undefined || value === null ? "–" : show(value);
  };
  const said = lines.map((l) => `${l.name} ${latest(l)}`).join(", ");
  return html`<figure class="chart">
    <div ref=${place} class="plot" role="img" aria-label=${`${label}: ${said || "nothing yet"}`}></div>
    <figcaption>${lines.map((line, i) => html`<span key=${line.name} class="key">
      <svg width="22" height="8" aria-hidden="true"><line x1="0" y1="4" x2="22" y2="4" class=${`stroke-${(line.color % 8) + 1}`} stroke-width="2" stroke-dasharray=${(line.dash || DASHES[i % 8] || []).join(" ")} /></svg>
      ${line.name} <b>${latest(line)}</b></span>`)}</figcaption>
  </figure>`;
}
