// A page for tests: time, network, storage and screen do what the test says.

import { webcrypto } from "node:crypto";

const START = Date.parse("2026-05-17T09:00:00Z");

export class FakeStorage extends Map {
  get length() {
    return this.size;
  }
  key = (at) => [...this.keys()][at] ?? null;
  getItem = (name) => this.get(name) ?? null;
  removeItem = (name) => void this.delete(name);
  setItem(name, text) {
    if (this.full) throw new Error("QuotaExceededError");
    this.set(name, text);
  }
}

/** Locks of the tabs of one browser. */
export class FakeLocks {
  held = new Set();

  async request(name, ...rest) {
    const act = rest.pop();
    if (this.held.has(name)) return rest[0]?.ifAvailable ? act(null) : undefined;
    this.held.add(name);
    try {
      return await act({ name });
    } finally {
      this.held.delete(name);
    }
  }
}

/** The server: keeps each event once; `answers` are given first, one to a request. */
export class FakeServer {
  events = new Map();
  requests = [];
  answers = [];

  take(address, body) {
    const { interactions } = JSON.parse(body);
    this.requests.push({ address, interactions });
    const planned = this.answers.shift();
    if (planned instanceof Error) throw planned;
    if (planned && !planned.results) return planned;
    const results = interactions.map((event, at) => {
      const refused = planned?.results[at];
      if (refused) return { event_id: event.event_id, ...refused };
      const outcome = this.events.has(event.event_id) ? "duplicate" : "accepted";
      this.events.set(event.event_id, event);
      return { event_id: event.event_id, outcome, reason: null };
    });
    return { status: 202, headers: planned?.headers, body: { results } };
  }

  get kinds() {
    return [...this.events.values()].map(({ type, item_id }) => `${type} ${item_id ?? ""}`.trim());
  }
}

class Target {
  listeners = new Map();
  addEventListener(name, act) {
    this.listeners.set(name, [...(this.listeners.get(name) ?? []), act]);
  }
  removeEventListener(name, act) {
    this.listeners.set(name, (this.listeners.get(name) ?? []).filter((other) => other !== act));
  }
  fire(name, event = {}) {
    for (const act of this.listeners.get(name) ?? []) act(event);
  }
}

export class FakeElement {
  isConnected = true;
  constructor(attributes = {}, children = [], parent = null) {
    this.attributes = attributes;
    this.children = children;
    this.parent = parent;
    for (const child of children) child.parent = this;
  }
  getAttribute = (name) => this.attributes[name] ?? null;
  closest(selector) {
    const has = this.getAttribute(selector.slice(1, -1)) != null;
    return has ? this : (this.parent?.closest(selector) ?? null);
  }
  querySelectorAll(selector) {
    const name = selector.slice(1, -1);
    return this.children.flatMap((child) => [
      ...(child.getAttribute(name) == null ? [] : [child]),
      ...child.querySelectorAll(selector),
    ]);
  }
  contains = (other) => other === this || this.children.some((child) => child.contains(other));
  get path() {
    return [this, ...(this.parent?.path ?? [])];
  }
}

export class FakePage extends Target {
  Date = { now: () => START + this.ms };
  performance = { now: () => this.ms };
  crypto = webcrypto;
  atob = atob;
  ms = 0;
  timers = new Map();
  sights = [];
  changes = [];

  constructor({ server = new FakeServer(), storage = new FakeStorage(), locks = new FakeLocks(), navigator = {}, prerendering = false } = {}) {
    super();
    this.server = server;
    this.localStorage = storage;
    this.document = Object.assign(new Target(), {
      visibilityState: prerendering ? "hidden" : "visible", prerendering, body: null,
    });
    this.navigator = {
      onLine: true,
      locks,
      sendBeacon: (address, body) => {
        this.beacons.push(body);
        this.server.take(address, body);
        return true;
      },
      ...navigator,
    };
    this.beacons = [];
    const page = this;
    this.IntersectionObserver = class {
      observed = new Set();
      constructor(look) {
        this.look = look;
        page.sights.push(this);
      }
      observe = (element) => this.observed.add(element);
      unobserve = (element) => this.observed.delete(element);
      disconnect = () => this.observed.clear();
    };
    this.MutationObserver = class {
      constructor(tell) {
        this.tell = tell;
        page.changes.push(this);
      }
      observe() {}
      disconnect() {}
    };
  }

  setTimeout = (act, ms) => {
    const timer = {};
    this.timers.set(timer, { at: this.ms + ms, act });
    return timer;
  };
  clearTimeout = (timer) => void this.timers.delete(timer);

  fetch = async (address, { body }) => {
    const { status, headers = {}, body: answer } = this.server.take(address, body);
    const ok = status < 300;
    return { ok, status, headers: new Headers(headers), json: async () => answer };
  };

  /** Lets so many milliseconds pass, and everything happen that falls due. */
  async pass(ms) {
    const end = this.ms + ms;
    for (;;) {
      await settle();
      const [next] = [...this.timers].sort(([, a], [, b]) => a.at - b.at);
      if (!next || next[1].at > end) break;
      this.timers.delete(next[0]);
      this.ms = next[1].at;
      next[1].act();
    }
    this.ms = end;
    await settle();
  }

  /** Shows so much of an element, and of the window. */
  show(element, intersectionRatio, filled = 0.2) {
    const entry = {
      target: element,
      isIntersecting: intersectionRatio > 0,
      intersectionRatio,
      intersectionRect: { height: filled * 800 },
      rootBounds: { height: 800 },
    };
    for (const sight of this.sights) if (sight.observed.has(element)) sight.look([entry]);
  }

  /** Somebody comes to a page that was rendered before. */
  activate() {
    this.document.prerendering = false;
    this.document.fire("prerenderingchange");
    this.reveal();
  }
  hide() {
    this.document.visibilityState = "hidden";
    this.document.fire("visibilitychange");
  }
  reveal() {
    this.document.visibilityState = "visible";
    this.document.fire("visibilitychange");
  }
  click(element, button = 0) {
    this.document.fire(button ? "auxclick" : "click", { button, composedPath: () => [...element.path, this.document, this] });
  }
}

const settle = () => new Promise((done) => setImmediate(done));
