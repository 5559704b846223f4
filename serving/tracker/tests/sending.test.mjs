// Queue, batches, retries, storage and tabs.

import assert from "node:assert/strict";
import { test } from "node:test";
import { feedwright } from "../../assets/tracker/feedwright.js";
import { FakeLocks, FakePage, FakeServer, FakeStorage } from "./page.mjs";

const CONFIG = { url: "https://feed.example/", key: "fw_track_1", userId: "u1" };
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

const made = (page, more = {}) => feedwright({ ...CONFIG, ...more }, page);
const stored = (page) => [...page.localStorage.values()].flatMap((text) => JSON.parse(text)[1]);
const warnings = (t) => {
  const found = [];
  t.mock.method(console, "warn", (text) => found.push(text));
  return found;
};

test("an event goes out after five seconds, as the server wants it", async () => {
  const page = new FakePage();
  made(page, { feed: { feed_id: "f1" } }).save("i1", { position: 3 });
  await page.pass(4_900);
  assert.equal(page.server.requests.length, 0);
  await page.pass(200);
  const [{ address, interactions }] = page.server.requests;
  assert.equal(address, "https://feed.example/api/v1/interactions?key=fw_track_1");
  assert.match(interactions[0].event_id, UUID);
  delete interactions[0].event_id;
  assert.deepEqual(interactions, [
    {
      user_id: "u1",
      item_id: "i1",
      type: "save",
      occurred_at: "2026-05-17T09:00:00.000Z",
      metadata: { feed_id: "f1", position: 3 },
    },
  ]);
  assert.deepEqual(stored(page), []);
});

test("twenty events go out at once, and a hundred in five requests", async () => {
  const page = new FakePage();
  const fw = made(page);
  for (let n = 0; n < 100; n++) {
    fw.click(n);
    if (n % 20 === 19) await page.pass(0);
  }
  assert.deepEqual(page.server.requests.map(({ interactions }) => interactions.length), Array(5).fill(20));
});

test("typed functions say what happened", async () => {
  const page = new FakePage();
  const fw = made(page);
  for (const type of ["view", "click", "like", "save", "share", "apply", "unapply", "dismiss"]) fw[type]("i");
  fw.search({ tags: ["a"], query: "sofa" });
  fw.filter({ city: "Porto", category: undefined });
  fw.track("dwell", "i", { seconds: 12 });
  await fw.flush();
  assert.deepEqual(page.server.kinds, [
    "view i", "click i", "like i", "save i", "share i", "apply i", "unapply i", "dismiss i",
    "search", "filter", "dwell i",
  ]);
  const [search, filter] = [...page.server.events.values()].filter((event) => !event.item_id);
  assert.deepEqual([search.metadata, filter.metadata], [{ tags: ["a"], query: "sofa" }, { city: "Porto" }]);
});

test("what failed is sent again with the same ids and times, less and less often", async (t) => {
  t.mock.method(Math, "random", () => 1);
  const page = new FakePage();
  page.server.answers = Array.from({ length: 4 }, () => new TypeError("Failed to fetch"));
  made(page).like("i1");
  const times = [];
  for (let second = 0; second < 90; second++) {
    const before = page.server.requests.length;
    await page.pass(1_000);
    if (page.server.requests.length > before) times.push(second + 1);
  }
  assert.deepEqual(times, [5, 10, 15, 23, 39]); // at least 5 s, then 8, then 16
  const sent = page.server.requests.map(({ interactions }) => JSON.stringify(interactions));
  assert.equal(new Set(sent).size, 1);
  assert.equal(page.server.events.size, 1);
});

test("Retry-After is obeyed, as seconds and as a date", async () => {
  for (const [status, after] of [[429, "120"], [503, "Sun, 17 May 2026 09:02:05 GMT"]]) {
    const page = new FakePage();
    page.server.answers = [{ status, headers: { "Retry-After": after } }];
    made(page).like("i1");
    await page.pass(124_000);
    assert.equal(page.server.requests.length, 1, after);
    await page.pass(2_000);
    assert.equal(page.server.events.size, 1, after);
  }
});

test("outcomes are final, but for events over their user's limit: those come again when they may", async (t) => {
  const found = warnings(t);
  const page = new FakePage();
  const fw = made(page);
  const refusal = { outcome: "rejected", field: "item_id", reason: "no such thing" };
  page.server.answers = [{ results: [refusal, null] }];
  fw.like("bad");
  fw.like("good");
  await fw.flush();
  assert.deepEqual(stored(page), []);
  assert.match(found[0], /item_id no such thing/);

  const over = { outcome: "rejected", field: "user_id", reason: "slow down", retry_after: 30 };
  page.server.answers = [{ results: [over, refusal, null, over] }, { results: [over, null] }];
  for (const item of ["one", "bad", "two", "three"]) fw.like(item);
  await page.pass(5_000);
  const waiting = () => stored(page).map(({ item_id }) => item_id);
  assert.deepEqual(waiting(), ["one", "three"]);
  assert.equal(found.length, 2); // each of the bad ones
  await page.pass(29_000);
  assert.equal(page.server.requests.length, 2);
  await page.pass(2_000);
  assert.deepEqual(waiting(), ["one"]);
  await page.pass(31_000);
  assert.deepEqual(waiting(), []);
  assert.deepEqual(page.server.kinds, ["like good", "like two", "like three", "like one"]);
});

test("when all of many are over the limit, they wait and are not asked for again at once", async () => {
  const page = new FakePage();
  const fw = made(page);
  const over = { outcome: "rejected", field: "user_id", reason: "slow down", retry_after: 20 };
  page.server.answers = [{ results: Array(25).fill(over) }];
  for (let n = 0; n < 25; n++) fw.click(n);
  await page.pass(19_000);
  assert.equal(page.server.requests.length, 1);
  assert.equal(stored(page).length, 25);
  await page.pass(2_000);
  assert.equal(page.server.events.size, 25);
});

test("a refused key ends it, with one warning", async (t) => {
  const found = warnings(t);
  const page = new FakePage();
  page.server.answers = [{ status: 401 }];
  const fw = made(page);
  fw.like("i1");
  await page.pass(10_000);
  fw.like("i2");
  await page.pass(100_000);
  page.hide();
  assert.equal(page.server.requests.length, 1);
  assert.equal(found.length, 1);
  assert.equal(stored(page).length, 2); // for a page with a better key
});

test("an event that the server cannot read does not block the others", async (t) => {
  const found = warnings(t);
  const page = new FakePage();
  const take = page.server.take.bind(page.server);
  page.server.take = (address, body) => {
    if (body.includes('"poison"')) {
      page.server.requests.push({});
      return { status: 422 };
    }
    return take(address, body);
  };
  const fw = made(page, { batchSize: 100 });
  for (let n = 0; n < 16; n++) fw.like(n === 5 ? "poison" : `i${n}`);
  await fw.flush();
  await page.pass(6_000);
  assert.equal(page.server.events.size, 15);
  assert.equal(found.length, 1);
  assert.deepEqual(stored(page), []);
});

test("an answer that is not Feedwright's confirms nothing", async () => {
  const page = new FakePage();
  page.server.answers = [{ status: 200, body: "<html>" }, { status: 404 }];
  made(page).like("i1");
  await page.pass(60_000);
  assert.equal(page.server.requests.length, 3);
  assert.equal(page.server.events.size, 1);
});

test("offline, events wait in storage and nothing is tried; online, they go in few requests", async () => {
  const page = new FakePage();
  page.navigator.onLine = false;
  const fw = made(page);
  for (let n = 0; n < 150; n++) fw.click(`i${n}`);
  await page.pass(60_000);
  assert.equal(page.server.requests.length, 0);
  assert.equal(stored(page).length, 150);
  page.navigator.onLine = true;
  page.fire("online");
  await page.pass(0);
  assert.equal(page.server.requests.length, 1);
  assert.equal(page.server.events.size, 150);
});

test("the queue is bounded: the oldest impressions go first", async () => {
  const page = new FakePage();
  page.navigator.onLine = false;
  const fw = made(page);
  for (let n = 0; n < 600; n++) {
    fw.track("impression", `i${n}`);
    fw.click(`i${n}`);
  }
  const left = stored(page);
  assert.equal(left.filter(({ type }) => type === "click").length, 600);
  assert.deepEqual(left.filter(({ type }) => type !== "click").map(({ item_id }) => item_id)[0], "i200");
  assert.equal(left.length, 1_000);

  for (let n = 0; n < 100; n++) fw.search({ query: "ü".repeat(5_000) });
  const text = [...page.localStorage.values()][0];
  assert.ok(new TextEncoder().encode(text).length <= 258_000);
  assert.ok(stored(page).every(({ type }) => type === "search"));
});

test("a body has at most 60 kB, and what is larger alone is refused", async (t) => {
  const found = warnings(t);
  const page = new FakePage();
  const sizes = [];
  const take = page.server.take.bind(page.server);
  page.server.take = (address, body) => {
    sizes.push(new TextEncoder().encode(body).length);
    return take(address, body);
  };
  const fw = made(page);
  fw.search({ query: "x".repeat(60_000) });
  assert.equal(found.length, 1);
  for (let n = 0; n < 19; n++) fw.search({ query: "é".repeat(5_000) });
  page.hide();
  assert.equal(page.beacons.length, 4);
  assert.equal(page.server.events.size, 19);
  assert.ok(sizes.every((size) => size > 40_000 && size <= 60_000), String(sizes));
});

test("a page that is left sends a beacon once, and the next one makes sure of it", async () => {
  const [server, storage, locks] = [new FakeServer(), new FakeStorage(), new FakeLocks()];
  const first = new FakePage({ server, storage, locks });
  made(first).like("i1");
  first.fire("pagehide");
  first.hide(); // browsers tell both
  await first.pass(0);
  assert.equal(first.beacons.length, 1);
  assert.equal(server.events.size, 1);

  const second = new FakePage({ server, storage, locks });
  made(second);
  await second.pass(7_000);
  assert.equal(server.requests.length, 2);
  assert.equal(server.events.size, 1);
  assert.deepEqual(stored(second), []);
});

test("a beacon leaves out what a request has on its way, and what the browser does not take stays", async () => {
  const page = new FakePage();
  let answer;
  const { fetch } = page;
  page.fetch = (...call) => new Promise((done) => (answer = () => done(fetch(...call))));
  const fw = made(page);
  fw.like("i1");
  void fw.flush();
  await page.pass(0);
  fw.like("i2");
  page.navigator.sendBeacon = () => false;
  page.hide();
  assert.equal(stored(page).length, 2);
  page.navigator.sendBeacon = (address, body) => page.beacons.push(body);
  page.hide();
  assert.equal(page.beacons.length, 1);
  assert.ok(!page.beacons[0].includes('"i1"'));
  answer();
  await page.pass(0);
  assert.deepEqual(stored(page).map(({ item_id }) => item_id), ["i2"]);
});

test("tabs share a storage and lose nothing: only those that are gone are taken over", async () => {
  for (const locks of [new FakeLocks(), null]) {
    const [server, storage] = [new FakeServer(), new FakeStorage()];
    const one = new FakePage({ server, storage, locks });
    one.navigator.onLine = false;
    made(one).like("of one");
    await one.pass(0);
    const two = new FakePage({ server, storage, locks });
    made(two).like("of two");
    await two.pass(10_000);
    assert.deepEqual(server.kinds, ["like of two"]);

    one.fire("pagehide"); // offline still: no beacon
    await one.pass(0);
    two.ms = 120_000;
    two.reveal();
    await two.pass(10_000);
    assert.deepEqual(server.kinds, ["like of two", "like of one"]);
    assert.equal(storage.size, 0);
  }
});

test("without storage, or with a full one, events wait in memory", async () => {
  const full = new FakeStorage();
  full.full = true;
  const forbidden = new FakePage();
  Object.defineProperty(forbidden, "localStorage", { get: () => { throw new Error("SecurityError"); } });
  for (const [page, more] of [
    [new FakePage({ storage: full }), {}],
    [forbidden, {}],
    [new FakePage(), { storage: null }],
  ]) {
    made(page, more).like("i1");
    await page.pass(6_000);
    assert.equal(page.server.events.size, 1);
  }
});

test("a token says who it is, and its events wait for the same user", async () => {
  const token = (sub) => `x.${Buffer.from(JSON.stringify({ sub })).toString("base64url")}.y`;
  const [server, storage, locks] = [new FakeServer(), new FakeStorage(), new FakeLocks()];
  const visit = async (sub) => {
    const page = new FakePage({ server, storage, locks });
    const fw = made(page, { userId: undefined, token: token(sub) });
    await page.pass(7_000);
    return [page, fw];
  };
  const [page, fw] = await visit("José");
  page.navigator.onLine = false;
  fw.like("i1");
  page.fire("pagehide");
  await visit("Ana");
  assert.equal(server.requests.length, 0);
  await visit("José");
  assert.equal([...server.events.values()][0].user_id, "José");
  assert.match(server.requests[0].address, /key=fw_track_1&token=x\./);
});

test("without consent nothing is stored or sent; withdrawn, nothing is left", async () => {
  const page = new FakePage();
  const fw = made(page, { consent: false });
  fw.like("i1");
  await page.pass(10_000);
  assert.equal(page.localStorage.size + page.server.requests.length, 0);

  fw.consent(true);
  fw.like("i2");
  assert.equal(stored(page).length, 1);
  fw.consent(false);
  fw.like("i3");
  page.fire("pagehide");
  await page.pass(10_000);
  assert.equal(page.localStorage.size + page.server.requests.length, 0);

  fw.consent(true);
  fw.like("i4");
  await page.pass(10_000);
  assert.deepEqual(page.server.kinds, ["like i4"]);
});

test("Do Not Track and Global Privacy Control are respected", async () => {
  for (const navigator of [{ doNotTrack: "1" }, { globalPrivacyControl: true }]) {
    const storage = new FakeStorage([["feedwright https://feed.example  old", "[0,[]]"], ["theirs", "1"]]);
    const page = new FakePage({ navigator, storage });
    const fw = made(page);
    fw.like("i1");
    fw.observe();
    fw.consent(true);
    page.hide();
    await page.pass(10_000);
    assert.deepEqual([...storage.keys()], ["theirs"]);
    assert.equal(page.server.requests.length, 0);

    const other = new FakePage({ navigator });
    made(other, { respectDoNotTrack: false }).like("i1");
    await other.pass(10_000);
    assert.equal(other.server.events.size, 1);
  }
});

test("closed, it has sent what it had and does nothing more", async () => {
  const page = new FakePage();
  const fw = made(page);
  fw.like("i1");
  fw.close();
  fw.like("i2");
  page.fire("online");
  await page.pass(10_000);
  assert.deepEqual(page.server.kinds, ["like i1"]);
  assert.equal(page.server.requests.length, 1);
});

test("where pages are rendered on a server it does nothing", () => {
  const fw = feedwright(CONFIG); // Node's own globals
  fw.observe()();
  fw.like("i1");
  fw.consent(false);
  fw.close();
});
