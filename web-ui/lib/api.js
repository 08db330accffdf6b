// The public API, and nothing else: calls, errors, names as bytes, and the same call as a curl line.

/**
 * @typedef {object} Call
 * @property {string} [method]
 * @property {string} path with its query
 * @property {Record<string, string>} [headers]
 * @property {string | Uint8Array} [body]
 */

/**
 * @typedef {object} Answer
 * @property {number} status
 * @property {any} json what was answered, if it was JSON
 * @property {Headers} headers
 * @property {number} ms from the question to the whole answer
 */

/** What went wrong, as the server tells it; or that it did not answer. */
export class Problem extends Error {
  /** @param {number} status @param {any} body */
  constructor(status, body) {
    super(body.detail || body.title || `status ${status}`);
    this.status = status;
    /** @type {string} */
    this.code = body.code || "unknown";
    /** @type {any} */
    this.body = body;
  }

  /** This server, being of an older version, has no such thing. */
  get isMissing() {
    return this.code === "no_such_endpoint" || this.code === "method_not_allowed";
  }

  /** In a sentence. */
  get sentence() {
    if (this.isMissing) return "This server does not offer it yet.";
    if (this.code === "unreachable") return "The server does not answer.";
    const outcome = { unknown: " Whether it was carried out is not known.", not_applied: "", applied: " It was carried out." };
    return `${capital(this.message)} (${this.code}).${outcome[/** @type {"unknown"} */ (this.body.outcome)] || ""}`;
  }
}

/** @param {string} text */
function capital(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** How long a question may take before the server counts as not answering. */
const PATIENCE = 12000;

/**
 * Asks; throws a {@link Problem} for an error.
 * @param {Call} call @param {{patience?: number, signal?: AbortSignal}} [options]
 * @returns {Promise<Answer>}
 */
export async function ask(call, { patience = PATIENCE, signal } = {}) {
  const start = performance.now();
  const limits = [AbortSignal.timeout(patience), ...(signal ? [signal] : [])];
  let response;
  let text;
  try {
    response = await fetch(call.path, {
      method: call.method || "GET",
      headers: call.headers,
      body: /** @type {BodyInit | undefined} */ (call.body),
      cache: "no-store",
      redirect: "error",
      signal: AbortSignal.any(limits),
    });
    text = await response.text();
  } catch (e) {
    if (signal && signal.aborted) throw e;
    throw new Problem(0, { code: "unreachable", detail: "the server does not answer", outcome: "unknown" });
  }
  const kind = response.headers.get("content-type") || "";
  const json = kind.includes("json") && text ? parsed(text) : undefined;
  if (!response.ok && response.status !== 304) throw new Problem(response.status, json || { detail: text });
  return { status: response.status, json, headers: response.headers, ms: performance.now() - start };
}

/** @param {string} text */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** @param {string} path */
export async function get(path) {
  return (await ask({ path })).json;
}

/** A word for the shell. @param {string} text */
function quoted(text) {
  return /^[A-Za-z0-9_./:=@%-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

/** The same call on a command line. @param {Call} call */
export function curl(call) {
  const words = ["curl"];
  const method = call.method || "GET";
  if (method !== "GET") words.push("-X", method);
  words.push(quoted(location.origin + call.path));
  for (const [name, value] of Object.entries(call.headers || {})) words.push("-H", quoted(`${name}: ${value}`));
  if (call.body instanceof Uint8Array) {
    const text = utf8(call.body);
    if (text === null || text.includes("\0")) {
      return `echo ${base64(call.body)} | base64 -d | ${words.join(" ")} --data-binary @-`;
    }
    // To curl, what begins with @ is a file's name.
    if (text.startsWith("@")) return `printf %s ${quoted(text)} | ${words.join(" ")} --data-binary @-`;
    words.push("--data-binary", quoted(text));
  } else if (call.body !== undefined) {
    words.push("-d", quoted(call.body));
  }
  return words.join(" ");
}

const ENCODER = new TextEncoder();

/** @param {string} text */
export function toBytes(text) {
  return ENCODER.encode(text);
}

/** @param {Uint8Array} bytes @returns {string | null} */
export function utf8(bytes) {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return null;
  }
}

/** @param {string} text */
function fromBase64(text) {
  return Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
}

/** @param {Uint8Array} bytes */
export function base64(bytes) {
  let text = "";
  for (let i = 0; i < bytes.length; i += 0x8000) text += String.fromCharCode(...bytes.subarray(i, i + 0x8000));
  return btoa(text);
}

/** Any bytes in a URL. @param {Uint8Array} bytes */
export function percent(bytes) {
  let text = "";
  for (const byte of bytes) {
    const c = String.fromCharCode(byte);
    text += /[A-Za-z0-9_.~-]/.test(c) ? c : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }
  return text;
}

/** @param {string} text @returns {Uint8Array} */
export function unpercent(text) {
  const bytes = [];
  for (let i = 0; i < text.length; i += 1) {
    const hex = text.slice(i + 1, i + 3);
    if (text[i] === "%" && /^[0-9A-Fa-f]{2}$/.test(hex)) {
      bytes.push(parseInt(hex, 16));
      i += 2;
    } else {
      bytes.push(...toBytes(text[i] || ""));
    }
  }
  return Uint8Array.from(bytes);
}

/**
 * A name as the API writes it: text, or base64 and a field beside it that says so.
 * @param {any} item @param {string} field @returns {Name}
 */
export function named(item, field) {
  const text = item[field];
  return item[`${field}_encoding`] === "base64" ? nameOf(fromBase64(text)) : { text, id: percent(toBytes(text)), isText: true };
}

/**
 * A key's or a lock's name.
 * @typedef {object} Name
 * @property {string} text what is shown
 * @property {string} id the bytes, as they stand in a URL
 * @property {boolean} isText
 */

/** @param {Uint8Array} bytes @returns {Name} */
export function nameOf(bytes) {
  const text = utf8(bytes);
  return { text: text === null ? base64(bytes) : text, id: percent(bytes), isText: text !== null };
}

/** A value's bytes. @param {any} item */
export function valueOf(item) {
  return item.encoding === "base64" ? fromBase64(item.value) : toBytes(item.value);
}
