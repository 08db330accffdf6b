// The dashboard's arithmetic, without a browser.

import assert from "node:assert/strict";
import { test } from "node:test";
import { diff } from "../../web-ui/lib/diff.js";
import { bands } from "../../web-ui/lib/events.js";
import { bytes, duration, visible } from "../../web-ui/lib/format.js";
import { cycles, edges, places } from "../../web-ui/lib/graph.js";
import { alarms, health, preview, quorum } from "../../web-ui/lib/health.js";
import { dump, parse, plain } from "../../web-ui/lib/hex.js";

globalThis.location ??= { origin: "http://127.0.0.1:8700", hash: "" };
const { curl, nameOf, percent, unpercent } = await import("../../web-ui/lib/api.js");
const { merge } = await import("../../web-ui/lib/live.js");

const member = (id, more = {}) => ({ id, type: "active", status: "available", match_index: 5, heard_ms: 10, ...more });

test("a quorum and what it can lose", () => {
  assert.deepEqual(quorum([member(1), member(2), member(3)]), { voters: 3, up: 3, needed: 2, spare: 1 });
  assert.deepEqual(quorum([member(1), member(2, { heard_ms: 9000 }), member(3)]), { voters: 3, up: 2, needed: 2, spare: 0 });
  assert.equal(quorum([member(1), member(2, { status: "unavailable" }), member(3, { type: "passive" })]).spare, -1);
  assert.equal(quorum([member(1), member(2), member(3), member(4)]).needed, 3);
});

test("what would lose the quorum is refused", () => {
  const three = [member(1), member(2), member(3)];
  assert.equal(preview(three, 3, "gone").refused, null);
  assert.match(preview(three, 3, "gone").warning, /one more failure/);
  const hurt = [member(1), member(2, { status: "unavailable" }), member(3)];
  assert.match(preview(hurt, 3, "gone").refused, /the cluster would stop/);
  assert.equal(preview(hurt, 2, "gone").refused, null, "the dead one may go");
  assert.equal(preview(hurt, 2, "gone").after.voters, 2);
  assert.match(preview([member(1)], 1, "passive").refused, /No voter/);
  assert.equal(preview([...three, member(4, { type: "passive" })], 4, "active").after.needed, 3);
});

test("health in a sentence", () => {
  const state = (leader, members) => ({ server: { id: 1, commit_index: 5, applied_index: 5 }, cluster: { leader, term: 14, members }, checks: {} });
  const three = [member(1), member(2), member(3)];
  assert.deepEqual(health(state(2, three), true), { kind: "ok", text: "3 of 3 voters, can lose 1, leader 2, term 14" });
  assert.equal(health(state(null, three), true).kind, "bad");
  assert.equal(health(state(2, three), false).kind, "off", "what is old is not told as if it were so");
  assert.match(alarms(state(null, three))[0].next, /2 of the 3 voters must run/);
  assert.deepEqual(alarms(state(2, three)), []);
  const trouble = [{ type: "trouble", member: 1, time_ms: 5000, reason: "its disk is full" }];
  assert.match(alarms(state(2, three), trouble, 6000)[0].title, /its disk is full/);
  assert.deepEqual(alarms(state(2, three), trouble, 5e6), [], "long ago");
});

test("waits in a circle are found, and only those", () => {
  const lock = (name, holders, queue) => ({ name: { text: name }, holders: holders.map((session) => ({ session })), queue: queue.map((session) => ({ session })) });
  const chain = edges([lock("a", [1], [2, 3]), lock("b", [2], [3])]);
  assert.equal(chain.length, 3);
  assert.deepEqual(cycles(chain), []);
  const ring = edges([lock("a", [1], [2]), lock("b", [2], [3]), lock("c", [3], [1, 9])]);
  const [found, ...others] = cycles(ring);
  assert.deepEqual([[...found].sort(), others], [[1, 2, 3], []]);
  found.forEach((session, i) => assert.ok(ring.some((e) => e.from === session && e.to === found[(i + 1) % found.length]), "each waits for the next"));
  assert.deepEqual(cycles(edges([lock("a", [1], [1])])), [], "nobody waits for itself");
  const spots = [...places(ring).values()].map(({ x, y }) => `${x} ${y}`);
  assert.equal(new Set(spots).size, spots.length, "no two in one place");
  const long = edges([...Array(3000).keys()].map((i) => lock(String(i), [i], [i + 1])));
  assert.deepEqual(cycles(long), []);
});

test("bytes stand in a URL and come back", () => {
  for (const all of [[0, 255, 37, 47, 60], [...new TextEncoder().encode("a/../b ünï%41")], []]) {
    assert.deepEqual([...unpercent(percent(Uint8Array.from(all)))], all);
  }
  assert.deepEqual(nameOf(Uint8Array.from([255])), { text: "/w==", id: "%FF", isText: false });
});

test("a curl line is one command, whatever is in it", () => {
  assert.equal(curl({ path: "/v1/cluster" }), "curl http://127.0.0.1:8700/v1/cluster");
  const tricky = curl({ method: "PUT", path: "/v1/kv?key=a&ttl=1s", headers: { "If-Match": '"17"' }, body: new TextEncoder().encode("it's $HOME `x`") });
  assert.equal(tricky, `curl -X PUT 'http://127.0.0.1:8700/v1/kv?key=a&ttl=1s' -H 'If-Match: "17"' --data-binary 'it'\\''s $HOME \`x\`'`);
  assert.match(curl({ method: "PUT", path: "/v1/kv?key=a", body: Uint8Array.from([0, 1]) }), /^echo AAE= \| base64 -d \| curl .* --data-binary @-$/);
});

test("a value that begins with @ is no file's name in a curl line", () => {
  const line = curl({ method: "PUT", path: "/v1/kv?key=a", body: new TextEncoder().encode("@/etc/passwd") });
  assert.match(line, /^printf %s @\/etc\/passwd \| curl .* --data-binary @-$/);
});

test("patches are merged as RFC 7396 has it", () => {
  assert.deepEqual(merge({ a: 1, b: { c: [1], d: 2 } }, { b: { c: [2], d: null }, e: { f: 1 } }), { a: 1, b: { c: [2] }, e: { f: 1 } });
});

test("lines that differ", () => {
  assert.deepEqual(diff("a\nb\nc", "a\nx\nc").map((l) => l.kind + l.text), ["samea", "outb", "inx", "samec"]);
  assert.equal(diff("same", "same").length, 1);
});

test("bytes as hexadecimal, and back", () => {
  const all = Uint8Array.from([...Array(40).keys()]);
  assert.deepEqual(parse(plain(all)), all);
  assert.equal(parse("0"), null);
  assert.equal(parse("zz"), null);
  assert.match(dump(Uint8Array.from([65, 0])), /^00000000  41 00 .*A·$/);
});

test("names that look alike are told apart", () => {
  assert.equal(visible("a\nb"), "a␊b");
  assert.equal(visible("a\u200bb\u202e"), "a⟨U+200B⟩b⟨U+202E⟩");
});

test("who led when", () => {
  const e = (time_ms, more) => ({ id: time_ms, time_ms, ...more });
  const events = [e(10, { type: "leader", member: 1, term: 1 }), e(50, { type: "vote_granted", member: 2, voter: 3, term: 2 }), e(51, { type: "leader", member: 2, term: 2 })];
  assert.deepEqual(bands(events, { leader: 2, term: 2 }, 100), [{ member: 1, term: 1, from: 10, to: 51 }, { member: 2, term: 2, from: 51, to: 100 }]);
  const lost = [...events, e(70, { type: "role", role: "candidate", member: 3, term: 2 })];
  assert.deepEqual(bands(lost, { leader: null, term: 2 }, 100).at(-1), { member: 2, term: 2, from: 51, to: 70 });
});

test("sizes and times", () => {
  assert.deepEqual([bytes(512), bytes(2048), bytes(5 * 1024 * 1024)], ["512 B", "2.0 KiB", "5.0 MiB"]);
  assert.deepEqual([duration(12), duration(1500), duration(90000), duration(7300000)], ["12 ms", "1.5 s", "90 s", "2 h 2 min"]);
});
