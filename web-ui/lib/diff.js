// Which lines differ (longest common subsequence).

/** Lines beyond this are compared as a whole. */
const LINES = 2000;

/**
 * @param {string} before @param {string} after
 * @returns {{kind: "same" | "out" | "in", text: string}[]}
 */
export function diff(before, after) {
  const a = before.split("\n");
  const b = after.split("\n");
  if (a.length > LINES || b.length > LINES) {
    return before === after ? [{ kind: "same", text: before }] : [{ kind: "out", text: before }, { kind: "in", text: after }];
  }
  const width = b.length + 1;
  const lengths = new Uint16Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      lengths[i * width + j] = a[i] === b[j] ? lengths[(i + 1) * width + j + 1] + 1 : Math.max(lengths[(i + 1) * width + j], lengths[i * width + j + 1]);
    }
  }
  /** @type {{kind: "same" | "out" | "in", text: string}[]} */
  const found = [];
  let i = 0;
  let j = 0;
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      found.push({ kind: "same", text: a[i] });
      i += 1;
      j += 1;
    } else if (j >= b.length || (i < a.length && lengths[(i + 1) * width + j] >= lengths[i * width + j + 1])) {
      found.push({ kind: "out", text: a[i] });
      i += 1;
    } else {
      found.push({ kind: "in", text: b[j] });
      j += 1;
    }
  }
  return found;
}
