// Impressions, dwell and clicks.

import assert from "node:assert/strict";
import { test } from "node:test";
import { feedwright } from "../../assets/tracker/feedwright.js";
import { FakeElement, FakePage } from "./page.mjs";

const item = (id, more = {}, children = []) => new FakeElement({ "data-fw-item": id, ...more }, children);

function watched(elements, { config = {}, list = {}, ...browser } = {}) {
  const page = new FakePage(browser);
  const root = new FakeElement(list, elements);
  const fw = feedwright({ url: "", batchSize: 1_000, ...config }, page);
  const end = fw.observe(root);
  const told = async () => {
    await fw.flush();
    return [...page.server.events.values()].map(({ type, item_id, metadata }) =>
      [type, item_id, metadata.seconds].filter((part) => part !== undefined).join(" "));
  };
  return { page, root, fw, end, told };
}

test("an item that is half visible for a second is an impression, once", async () => {
  const card = item("i1");
  const { page, told } = watched([card]);
  page.show(card, 0.4);
  await page.pass(2_000);
  assert.deepEqual(await told(), []);
  page.show(card, 0.5);
  await page.pass(900);
  page.show(card, 0.3);
  await page.pass(900);
  page.show(card, 1);
  await page.pass(1_000);
  assert.deepEqual(await told(), ["impression i1"]);
  page.show(card, 0);
  page.show(card, 1);
  await page.pass(2_000);
  assert.deepEqual(await told(), ["impression i1", "dwell i1 1"]);
});

test("share and time are configurable; a tall item counts when it fills the window", async () => {
  const [small, tall] = [item("small"), item("tall")];
  const { page, told } = watched([small, tall], { config: { visibleShare: 0.8, visibleMs: 300 } });
  page.show(small, 0.7);
  page.show(tall, 0.2, 0.9);
  await page.pass(300);
  assert.deepEqual(await told(), ["impression tall"]);
});

test("metadata comes from the element, from around it, and from the configuration", async () => {
  const card = item("i1", { "data-fw-position": "3", "data-fw-propensity": "0.25" });
  const { page, fw } = watched([card], {
    list: { "data-fw-feed": "f1", "data-fw-model": "7", "data-fw-variant": "champion" },
    config: { feed: { feed_id: "other", variant: "time", screen: "home" } },
  });
  page.show(card, 1);
  await page.pass(1_000);
  fw.apply("i1", { from: "menu" }); // by its id: where it was shown is known
  await fw.flush();
  const about = {
    feed_id: "f1", variant: "champion", model_version: "7", position: 3, propensity: 0.25, screen: "home",
  };
  assert.deepEqual(
    [...page.server.events.values()].map(({ metadata }) => metadata),
    [about, { ...about, from: "menu" }],
  );
});

test("dwell stops while the tab is hidden, and needs a second", async () => {
  const card = item("i1");
  const { page, told } = watched([card]);
  page.show(card, 1);
  await page.pass(3_500);
  page.hide();
  await page.pass(60_000);
  page.reveal();
  await page.pass(900);
  page.show(card, 0);
  assert.deepEqual(await told(), ["impression i1", "dwell i1 3.5"]);
  page.show(card, 1);
  await page.pass(3_600_000);
  page.show(card, 0);
  assert.equal((await told()).at(-1), "dwell i1 600"); // somebody left the room
});

test("items that come later are watched; what is taken out has ended", async () => {
  const { page, root, told } = watched([]);
  const card = item("late");
  card.parent = root;
  const [changes] = page.changes;
  changes.tell([{ type: "childList", addedNodes: [{}, new FakeElement({}, [card])], removedNodes: [] }]);
  page.show(card, 1);
  await page.pass(2_000);
  card.isConnected = false;
  changes.tell([{ type: "childList", addedNodes: [], removedNodes: [card] }]);
  await page.pass(2_000);
  assert.deepEqual(await told(), ["impression late", "dwell late 2"]);
  assert.equal(page.sights[0].observed.size, 0);
});

test("an element that becomes another item, or shows another feed, starts anew", async () => {
  const card = item("i1", { "data-fw-feed": "f1" });
  const { page, told } = watched([card]);
  const changed = () => page.changes[0].tell([{ type: "attributes", target: card, addedNodes: [], removedNodes: [] }]);
  page.show(card, 1);
  await page.pass(1_500);
  card.attributes["data-fw-item"] = "i2";
  changed();
  page.show(card, 1);
  await page.pass(1_500);
  card.attributes["data-fw-feed"] = "f2";
  changed();
  page.show(card, 1);
  await page.pass(1_000);
  assert.deepEqual(await told(), [
    "impression i1", "dwell i1 1.5", "impression i2", "dwell i2 1.5", "impression i2",
  ]);
});

test("clicks count on the item; a control says what else it means", async () => {
  const [title, heart, menu] = [{}, { "data-fw-action": "like" }, { "data-fw-action": "none" }].map(
    (attributes) => new FakeElement(attributes),
  );
  const card = item("i1", {}, [title, heart, menu]);
  const aside = item("not watched");
  const { page, told, end } = watched([card]);
  page.click(title);
  page.click(heart);
  page.click(menu);
  page.click(title, 1); // opens a new tab
  page.click(title, 2); // opens a menu
  page.click(aside);
  end();
  page.click(title);
  assert.deepEqual(await told(), ["click i1", "like i1", "click i1"]);
});

test("consent given later starts the clocks; withdrawn, they tell nothing", async () => {
  const card = item("i1");
  const { page, fw, told } = watched([card], { config: { consent: false } });
  page.show(card, 1);
  page.click(card);
  await page.pass(5_000);
  fw.consent(true);
  await page.pass(1_200);
  assert.deepEqual(await told(), ["impression i1"]);
  fw.consent(false);
  await page.pass(5_000);
  page.show(card, 0);
  assert.deepEqual(await told(), ["impression i1"]);
});

test("nothing of a page that is rendered for the case counts before somebody comes", async () => {
  const card = item("i1");
  const { page, fw, told } = watched([card], { prerendering: true });
  page.show(card, 1);
  fw.view("i1");
  page.fire("pageshow");
  await page.pass(60_000);
  await told();
  assert.equal(page.server.requests.length + page.beacons.length, 0);
  page.activate();
  await page.pass(2_000);
  page.show(card, 0);
  assert.deepEqual(await told(), ["view i1", "impression i1", "dwell i1 2"]);
  const [view] = page.server.events.values();
  assert.equal(view.occurred_at, "2026-05-17T09:01:00.000Z"); // when they came
});

test("of such a page that is closed, or for which consent is withdrawn, nothing is told", async () => {
  for (const end of [(fw) => fw.close(), (fw) => fw.consent(false)]) {
    const { page, fw, told } = watched([item("i1")], { prerendering: true });
    fw.view("i1");
    end(fw);
    page.activate();
    await page.pass(60_000);
    assert.deepEqual(await told(), []);
  }
});

test("a page that was left and is gone back to goes on: its pause is no dwell", async () => {
  const card = item("i1");
  const { page, fw, told } = watched([card]);
  page.show(card, 1);
  await page.pass(3_000);
  page.fire("pagehide", { persisted: true });
  await page.pass(3_600_000);
  page.fire("pageshow", { persisted: true });
  await page.pass(2_000);
  page.show(card, 0);
  fw.like("i1");
  assert.deepEqual(await told(), ["impression i1", "dwell i1 3", "dwell i1 2", "like i1"]);
  assert.equal(new Set([...page.server.events.keys()]).size, 4);
});

test("a duplicated tab is a page of its own: other ids, its own impressions", async () => {
  const [one, other] = [item("i1"), item("i1")];
  const first = watched([one]);
  first.page.show(one, 1);
  await first.page.pass(1_000);
  const { server, localStorage: storage } = first.page;
  const second = watched([other], { server, storage, locks: first.page.navigator.locks });
  second.page.show(other, 1);
  await second.page.pass(2_000);
  await first.told();
  assert.deepEqual(await second.told(), ["impression i1", "impression i1"]);
  assert.equal(server.events.size, 2);
});
