// Which page is shown, and how: all of it is in the URL's hash, so that it survives a reload, a bookmark, and the server.

/** @typedef {{page: string, params: URLSearchParams}} Route */

/** @returns {Route} */
export function route() {
  const [page, query] = location.hash.replace(/^#\/?/, "").split("?");
  return { page: page || "overview", params: new URLSearchParams(query || "") };
}

/** What is kept over pages. */
const KEPT = ["theme"];

/**
 * The hash of a page.
 * @param {string} page @param {Record<string, string | null | undefined>} [params]
 */
export function href(page, params = {}) {
  const query = new URLSearchParams();
  const before = route().params;
  for (const name of KEPT) {
    const value = before.get(name);
    if (value) query.set(name, value);
  }
  for (const [name, value] of Object.entries(params)) {
    if (value !== null && value !== undefined && value !== "") query.set(name, value);
  }
  const text = query.toString();
  return `#/${page}${text ? `?${text}` : ""}`;
}

/** @param {string} page @param {Record<string, string | null | undefined>} [params] */
export function go(page, params) {
  location.hash = href(page, params);
}

/** Changes some parameters of this page, without a step back to them. @param {Record<string, string | null | undefined>} changes */
export function change(changes) {
  const { page, params } = route();
  const all = { ...Object.fromEntries(params), ...changes };
  history.replaceState(null, "", href(page, all));
  dispatchEvent(new HashChangeEvent("hashchange"));
}
