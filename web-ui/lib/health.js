// What the numbers mean: whether the cluster is well, what it can lose, and what to do next.

import { duration, number } from "./format.js";

/** A voter that the leader has not heard for so long counts as silent, whatever the configuration says yet. */
const SILENT = 1500;
/** Followers that are further behind are named. */
const LAG_ENTRIES = 5000;
const LAG_MS = 3000;
/** Trouble is an alarm for so long. */
const RECENT = 600000;

/** As far as whoever is asked knows: the leader knows whom it has heard, and has not. @param {any} member */
export function isUp(member) {
  const told = member.match_index !== null && member.match_index !== undefined;
  const heard = !told || (member.heard_ms !== null && member.heard_ms !== undefined && member.heard_ms <= SILENT);
  return member.status === "available" && heard;
}

/** @param {any[]} members */
export function voters(members) {
  return members.filter((m) => m.type === "active");
}

/** @param {number} count */
export function majority(count) {
  return Math.floor(count / 2) + 1;
}

/**
 * A set of voters in numbers: how many, how many are up, how many more it may lose.
 * @param {any[]} members
 */
export function quorum(members) {
  const all = voters(members);
  const up = all.filter(isUp).length;
  const needed = majority(all.length);
  return { voters: all.length, up, needed, spare: up - needed };
}

/** @param {{voters: number, up: number, needed: number, spare: number}} q */
export function quorumSentence(q) {
  if (q.voters === 0) return "no voters";
  const can = q.spare < 0 ? `needs ${-q.spare} more` : `can lose ${q.spare}`;
  return `${q.up} of ${q.voters} voters up, majority ${q.needed}, ${can}`;
}

/**
 * How the cluster is, in a sentence and in a word.
 * @param {any} state @param {boolean} fresh
 * @returns {{kind: "ok" | "warn" | "bad" | "off", text: string}}
 */
export function health(state, fresh) {
  if (!state) return { kind: "off", text: "Not yet known" };
  const { cluster, server } = state;
  const q = quorum(cluster.members);
  if (!fresh) return { kind: "off", text: `Last known: term ${cluster.term}, ${cluster.leader ? `leader ${cluster.leader}` : "no leader"}` };
  if (!cluster.leader) return { kind: "bad", text: `No leader as server ${server.id} knows it, term ${cluster.term}: nothing can be written` };
  const can = q.spare < 0 ? "a majority does not answer" : `can lose ${q.spare}`;
  const text = `${q.up} of ${q.voters} voters, ${can}, leader ${cluster.leader}, term ${cluster.term}`;
  return { kind: q.up < q.voters || q.spare <= 0 && q.voters > 1 ? "warn" : "ok", text };
}

/**
 * What is wrong, and the next step to take; the worst first.
 * @param {any} state @param {any[]} [events] @param {number} [now] by the server's clock
 * @returns {{kind: "bad" | "warn" | "info", title: string, next: string, page?: string}[]}
 */
export function alarms(state, events = [], now = 0) {
  if (!state) return [];
  const { cluster, server, checks } = state;
  const found = [];
  const q = quorum(cluster.members);
  if (!cluster.leader) {
    found.push({ kind: "bad", title: "No leader is known here.", page: "elections",
      next: `${q.needed} of the ${q.voters} voters must run and reach each other. Start those that are down; look at the network between them.` });
  }
  if (server.log_lost) {
    found.push({ kind: "bad", title: `Server ${server.id} lost its log and is getting it back.`, page: "log",
      next: "Leave it running: it neither votes nor counts until it has caught up." });
  }
  for (const m of cluster.members) {
    const known = cluster.leader === server.id || m.status === "unavailable";
    if (known && !isUp(m)) {
      const since = m.heard_ms > SILENT ? ` for ${duration(m.heard_ms)}` : "";
      const role = m.type === "active" ? `The cluster can lose ${Math.max(0, q.spare)} more.` : "It does not vote.";
      found.push({ kind: m.type === "active" ? "bad" : "warn", title: `Server ${m.id} has not been heard${since}.`, page: "members",
        next: `${role} Start it again; if its machine is gone for good, remove it and join another.` });
    } else if (m.lag > LAG_ENTRIES || m.lag_ms > LAG_MS) {
      found.push({ kind: "warn", title: `Server ${m.id} is ${number(m.lag)} entries (${duration(m.lag_ms)}) behind.`, page: "members",
        next: "It catches up by itself if its disk and its network are fast enough: look at both." });
    }
  }
  if (server.commit_index - server.applied_index > LAG_ENTRIES) {
    found.push({ kind: "warn", title: `Server ${server.id} has yet to apply ${number(server.commit_index - server.applied_index)} entries.`, page: "log",
      next: "It answers no query before. If this lasts, its processor is too busy." });
  }
  for (const [name, said] of Object.entries(checks)) {
    if (cluster.leader && said !== "ok" && name !== "leader" && !(name === "log" && server.log_lost)) {
      found.push({ kind: "warn", title: `Not ready: ${said}.`, next: "See /readyz?verbose of this server.", page: "overview" });
    }
  }
  if (q.voters === 1 && cluster.leader) {
    found.push({ kind: "info", title: "One voter: nothing is lost by a crash, but nothing is served while it is down.", page: "members",
      next: "Add two more servers for a cluster that goes on without one of them." });
  } else if (q.voters % 2 === 0 && q.voters > 0) {
    found.push({ kind: "info", title: `${q.voters} voters can lose no more than ${q.voters - 1} would.`, page: "members",
      next: "An odd number of voters is the better bargain." });
  }
  const trouble = events.findLast((e) => e.type === "trouble");
  if (trouble && now - trouble.time_ms < RECENT) {
    found.push({ kind: "warn", title: `Server ${trouble.member}: ${trouble.reason}.`, next: `That was ${duration(now - trouble.time_ms)} ago; its log says more.`, page: "tail" });
  }
  const rank = { bad: 0, warn: 1, info: 2 };
  return /** @type {any} */ (found.sort((a, b) => rank[/** @type {"bad"} */ (a.kind)] - rank[/** @type {"bad"} */ (b.kind)]));
}

/**
 * Whether a change of the members is safe, and what it does to the quorum.
 * @param {any[]} members @param {number} id @param {"active" | "passive" | "reserve" | "gone"} to
 */
export function preview(members, id, to) {
  const before = quorum(members);
  const next = to === "gone" ? members.filter((m) => m.id !== id) : members.map((m) => (m.id === id ? { ...m, type: to } : m));
  const after = quorum(next);
  let refused = null;
  if (after.voters === 0) refused = "No voter would be left.";
  else if (after.spare < 0) refused = `${after.up} of ${after.voters} voters would be up, and ${after.needed} are needed: the cluster would stop.`;
  const lastSpare = after.spare === 0 && before.spare > 0 && after.voters > 1;
  return { before, after, refused, warning: lastSpare ? "Afterwards, one more failure stops the cluster." : null };
}
