// Events of servers, in words.

/** What one says, in a sentence. @param {any} e */
export function sentence(e) {
  const because = e.reason ? `: ${e.reason}` : "";
  switch (e.type) {
    case "role": return `Server ${e.member} is ${e.role} in term ${e.term}${because}`;
    case "leader": return `Server ${e.member} leads term ${e.term}`;
    case "vote_granted": return `Server ${e.voter} votes for server ${e.member} in term ${e.term}`;
    case "vote_refused": return `Server ${e.voter} does not vote for server ${e.member} in term ${e.term}`;
    case "poll_granted": return `Server ${e.voter} would vote for server ${e.member} in term ${e.term}`;
    case "poll_refused": return `Server ${e.voter} would not vote for server ${e.member}`;
    case "join": return `Server ${e.member} joins as ${e.member_type}${because}`;
    case "leave": return `Server ${e.member} is no member any more${because}`;
    case "type": return `Server ${e.member} is ${e.member_type} now${because}`;
    case "status": return `Server ${e.member} is ${e.status}${because}`;
    case "settings": return `The settings of the cluster have changed${because}`;
    case "removed": return `Server ${e.member} was removed from the cluster${because}`;
    case "snapshot": return `Server ${e.member} has taken a snapshot ${e.reason || ""}`;
    case "compaction": return `Server ${e.member} has compacted its log`;
    case "install": return `Server ${e.member} was given ${e.reason || "a snapshot"}`;
    case "trouble": return `Server ${e.member} has trouble${because}`;
    default: return `${String(e.type).replaceAll("_", " ")}, server ${e.member}, term ${e.term}${because}`;
  }
}

/**
 * How it is drawn: a form and a word for it.
 * @param {any} e @returns {{form: string, kind: string, word: string, lane: number}}
 */
export function mark(e) {
  switch (e.type) {
    case "role":
      if (e.role === "leader") return { form: "★", kind: "ok", word: "elected", lane: e.member };
      if (e.role === "candidate") return { form: "✕", kind: "bad", word: "missed the leader", lane: e.member };
      return { form: "▽", kind: "warn", word: "stepped down", lane: e.member };
    case "leader": return { form: "◆", kind: "info", word: "heard as leader", lane: e.member };
    case "vote_granted": return { form: "●", kind: "ok", word: "vote", lane: e.voter };
    case "vote_refused": return { form: "○", kind: "warn", word: "vote refused", lane: e.voter };
    case "poll_granted": return { form: "•", kind: "off", word: "would vote", lane: e.voter };
    case "poll_refused": return { form: "◦", kind: "off", word: "would not vote", lane: e.voter };
    default:
      if (/transfer/.test(e.type)) return { form: "⇄", kind: "info", word: "transfer", lane: e.member };
      if (e.type === "status") return e.status === "available" ? { form: "▲", kind: "ok", word: "available", lane: e.member } : { form: "✕", kind: "bad", word: "unavailable", lane: e.member };
      if (/removed|leave|trouble/.test(e.type)) return { form: "✕", kind: "bad", word: e.type, lane: e.member };
      return { form: "■", kind: "info", word: String(e.type).replaceAll("_", " "), lane: e.member };
  }
}

/** Those that tell how leaders changed. @param {any} e */
export function isOfElections(e) {
  return /^(role|leader|vote_|poll_|transfer|election|join|leave|type$|status|removed)/.test(e.type);
}

/**
 * Who led when, as far as this server saw it: bands of terms.
 * @param {any[]} events @param {any} cluster @param {number} now
 * @returns {{member: number, term: number, from: number, to: number}[]}
 */
export function bands(events, cluster, now) {
  const found = [];
  /** @type {any} */
  let open = null;
  const close = (/** @type {number} */ at) => {
    if (open) found.push({ ...open, to: at });
    open = null;
  };
  for (const e of events) {
    const leads = e.type === "leader" || (e.type === "role" && e.role === "leader");
    if (leads) {
      if (open && open.term === e.term && open.member === e.member) continue;
      close(e.time_ms);
      open = { member: e.member, term: e.term, from: e.time_ms };
    } else if (e.type === "role" && open) {
      close(e.time_ms);
    }
  }
  if (open && cluster && cluster.leader !== open.member) close(events.at(-1)?.time_ms ?? now);
  close(now);
  // This server may have known a leader before the first event that it keeps.
  if (found.length === 0 && cluster?.leader) found.push({ member: cluster.leader, term: cluster.term, from: 0, to: now });
  return found;
}
