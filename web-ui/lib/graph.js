// Who waits for whom: from the locks' holders and queues; and where that goes in a circle.

/**
 * @typedef {object} Edge
 * @property {number} from the session that waits
 * @property {number} to a session that holds, or comes first
 * @property {string} lock
 */

/**
 * A session waits for the holders of each lock that it queues for.
 * @param {{name: {text: string}, holders: {session: number}[], queue: {session: number}[]}[]} locks
 * @returns {Edge[]}
 */
export function edges(locks) {
  const found = [];
  for (const lock of locks) {
    for (const waiter of lock.queue) {
      for (const holder of lock.holders) {
        if (holder.session !== waiter.session) found.push({ from: waiter.session, to: holder.session, lock: lock.name.text });
      }
    }
  }
  return found;
}

/**
 * The strongly connected parts of more than one session: Tarjan's algorithm, without recursion.
 * @param {Edge[]} all @returns {number[][]}
 */
export function cycles(all) {
  /** @type {Map<number, number[]>} */
  const next = new Map();
  for (const e of all) next.set(e.from, [...(next.get(e.from) || []), e.to]);
  /** @type {Map<number, {index: number, low: number, on: boolean}>} */
  const seen = new Map();
  /** @type {number[]} */
  const stack = [];
  const parts = [];
  for (const start of next.keys()) {
    if (seen.has(start)) continue;
    /** @type {{at: number, i: number}[]} */
    const work = [{ at: start, i: 0 }];
    while (work.length) {
      const step = work[work.length - 1];
      let node = seen.get(step.at);
      if (!node) {
        node = { index: seen.size, low: seen.size, on: true };
        seen.set(step.at, node);
        stack.push(step.at);
      }
      const to = (next.get(step.at) || [])[step.i];
      if (to !== undefined) {
        step.i += 1;
        const known = seen.get(to);
        if (!known) work.push({ at: to, i: 0 });
        else if (known.on) node.low = Math.min(node.low, known.index);
        continue;
      }
      work.pop();
      const above = work[work.length - 1];
      const parent = above && seen.get(above.at);
      if (parent) parent.low = Math.min(parent.low, node.low);
      if (node.low === node.index) {
        const part = [];
        let last;
        do {
          last = /** @type {number} */ (stack.pop());
          /** @type {any} */ (seen.get(last)).on = false;
          part.push(last);
        } while (last !== step.at);
        if (part.length > 1) parts.push(ring(part, all));
      }
    }
  }
  return parts;
}

/** A circle within a part, in order. @param {number[]} part @param {Edge[]} all */
function ring(part, all) {
  const inside = new Set(part);
  const path = [part[0]];
  for (;;) {
    const to = all.find((e) => e.from === path[path.length - 1] && inside.has(e.to))?.to;
    if (to === undefined) return path;
    const at = path.indexOf(to);
    if (at >= 0) return path.slice(at);
    path.push(to);
  }
}

/**
 * Places in columns: who holds stands right of who waits, as far as there is no circle.
 * @param {Edge[]} all @returns {Map<number, {x: number, y: number}>} in columns and rows
 */
export function places(all) {
  const ids = [...new Set(all.flatMap((e) => [e.from, e.to]))];
  const column = new Map(ids.map((id) => [id, 0]));
  for (let round = 0; round < Math.min(ids.length, 12); round += 1) {
    for (const e of all) {
      const wanted = Math.min(ids.length - 1, (column.get(e.from) || 0) + 1, 6);
      if ((column.get(e.to) || 0) < wanted && !reaches(all, e.to, e.from)) column.set(e.to, wanted);
    }
  }
  /** @type {Map<number, {x: number, y: number}>} */
  const placed = new Map();
  // From the right: who waits stands about where whom it waits for stands, so that few lines cross.
  for (let x = Math.max(0, ...column.values()); x >= 0; x -= 1) {
    const height = (/** @type {number} */ id) => {
      const rows = all.filter((e) => e.from === id && placed.has(e.to)).map((e) => placed.get(e.to)?.y || 0);
      return rows.length ? rows.reduce((sum, y) => sum + y, 0) / rows.length : Infinity;
    };
    const here = ids.filter((id) => column.get(id) === x).sort((a, b) => height(a) - height(b) || a - b);
    here.forEach((id, y) => placed.set(id, { x, y }));
  }
  return spread(placed, all);
}

/** Sessions of a circle stand in one column: every other one moves aside. @param {Map<number, {x: number, y: number}>} placed @param {Edge[]} all */
function spread(placed, all) {
  for (const circle of cycles(all)) {
    const first = Math.max(...circle.map((id) => placed.get(id)?.x || 0));
    circle.forEach((id, i) => {
      const place = placed.get(id);
      if (place) place.x = first + (i % 2);
    });
  }
  const taken = new Set();
  for (const place of placed.values()) {
    while (taken.has(`${place.x} ${place.y}`)) place.y += 1;
    taken.add(`${place.x} ${place.y}`);
  }
  return placed;
}

/** @param {Edge[]} all @param {number} from @param {number} to */
function reaches(all, from, to) {
  const seen = new Set([from]);
  const work = [from];
  while (work.length) {
    const at = work.pop();
    if (at === to) return true;
    for (const e of all) {
      if (e.from === at && !seen.has(e.to)) {
        seen.add(e.to);
        work.push(e.to);
      }
    }
  }
  return false;
}
