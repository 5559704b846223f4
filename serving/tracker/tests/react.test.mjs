// The React entry, on a fake of the two hooks that it uses: no React is needed to run this.

import assert from "node:assert/strict";
import { register } from "node:module";
import { test } from "node:test";
import { FakePage } from "./page.mjs";

const FAKE = `data:text/javascript,
  export const useState = (...a) => globalThis.fakeReact.useState(...a);
  export const useEffect = (...a) => globalThis.fakeReact.useEffect(...a);`;
const HOOK = `export const resolve = (name, context, next) =>
  name === "react" ? { url: ${JSON.stringify(FAKE)}, shortCircuit: true } : next(name, context);`;
register(`data:text/javascript,${encodeURIComponent(HOOK)}`);
const { useFeedwright, useTrackedItem } = await import("../../assets/tracker/feedwright.react.js");

/** Renders one component; effects run after it, when their dependencies have changed. */
class Root {
  cells = [];

  render(component) {
    this.at = 0;
    this.effects = [];
    globalThis.fakeReact = this;
    let shown = component();
    for (const act of this.effects) act();
    if (this.changed) {
      this.changed = false;
      shown = this.render(component);
    }
    return shown;
  }
  unmount() {
    for (const cell of this.cells) cell.end?.();
  }
  useState(first) {
    const cell = (this.cells[this.at++] ??= { value: first });
    const set = (value) => {
      this.changed ||= value !== cell.value;
      cell.value = value;
    };
    return [cell.value, set];
  }
  useEffect(act, needs) {
    const cell = (this.cells[this.at++] ??= {});
    if (cell.needs && needs.every((need, at) => Object.is(need, cell.needs[at]))) return;
    this.effects.push(() => {
      cell.end?.();
      cell.end = act();
    });
    cell.needs = needs;
  }
}

test("a component has one tracker of the page, and a new one for another user", (t) => {
  const page = new FakePage();
  const body = { querySelectorAll: () => [] };
  Object.assign(page.document, body);
  // The hook uses the real globals: here they are the fake page's.
  const names = ["document", "navigator", "localStorage", "IntersectionObserver", "MutationObserver",
    "addEventListener", "removeEventListener", "setTimeout", "clearTimeout", "fetch"];
  const before = names.map((name) => [name, Object.getOwnPropertyDescriptor(globalThis, name)]);
  t.after(() => before.forEach(([name, old]) =>
    old ? Object.defineProperty(globalThis, name, old) : delete globalThis[name]));
  for (const name of names) {
    const value = typeof page[name] === "function" && !name.endsWith("Observer") ? page[name].bind(page) : page[name];
    Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
  }

  const root = new Root();
  const config = { url: "", userId: "ana" };
  const first = root.render(() => useFeedwright({ ...config }));
  first.like("i1");
  assert.equal(root.render(() => useFeedwright({ ...config })), first);
  const second = root.render(() => useFeedwright({ ...config, userId: "bea" }));
  assert.notEqual(second, first);
  second.like("i2");
  root.render(() => useFeedwright({ ...config, userId: "bea", consent: false }));
  second.like("i3");
  root.render(() => useFeedwright({ ...config, userId: "bea", consent: true }));
  second.like("i4");
  root.unmount();
  const sent = [...page.server.events.values()].map(({ user_id, item_id }) => `${user_id} ${item_id}`);
  assert.deepEqual(sent, ["ana i1", "bea i4"]); // i2 was waiting when consent was withdrawn
});

test("an item's props are the attributes that the tracker reads", () => {
  assert.deepEqual(useTrackedItem(7, { feed_id: "f", position: 2, model_version: null }), {
    "data-fw-item": 7,
    "data-fw-feed": "f",
    "data-fw-variant": undefined,
    "data-fw-model": undefined,
    "data-fw-position": 2,
    "data-fw-propensity": undefined,
  });
});
