// The tracker: what a page calls, and how the parts work together.

import { Queue } from "./queue";
import { Sender } from "./sender";
import { Shelf } from "./shelf";
import { Watcher } from "./watcher";

export type InteractionType =
  | "impression"
  | "view"
  | "click"
  | "dwell"
  | "like"
  | "save"
  | "share"
  | "apply"
  | "unapply"
  | "dismiss"
  | "search"
  | "filter"
  | (string & {}); // one of the profile's own, such as "purchase"

/** An item: its id, or its element. */
export type Item = string | number | Element;

/** What goes along with an event, as the server's `metadata`. */
export type Metadata = Record<string, unknown>;

/** Where an item was shown, as the answer of `/feed` says. */
export interface Feed {
  feed_id?: string;
  variant?: string;
  model_version?: string | null;
  [key: string]: unknown;
}

/** What somebody looks for. */
export interface Wanted {
  tags?: string[];
  category?: string;
  city?: string;
  query?: string;
  [key: string]: unknown;
}

export interface Config {
  /** Address of Feedwright, as "https://feed.example.com"; "" is this page's own. */
  url: string;
  /** A key with the scope `track`. */
  key?: string;
  /** Who is there; without it, and without a token, events are anonymous. */
  userId?: string;
  /** A signed user token: whose events these are is then not for the page to say. */
  token?: string;
  /** What all events carry where their element says nothing else. */
  feed?: Feed;
  /** Longest wait of an event, in seconds. Default 5. */
  batchSeconds?: number;
  /** So many waiting events are sent at once. Default 20. */
  batchSize?: number;
  /** Share of an item, or of the window, that it must fill to count as visible. Default 0.5. */
  visibleShare?: number;
  /** Time for which it must be visible to be an impression, in milliseconds. Default 1000. */
  visibleMs?: number;
  /** `false`: nothing is stored or sent until `consent(true)`. Default true. */
  consent?: boolean;
  /** Honour Do Not Track and Global Privacy Control. Default true. */
  respectDoNotTrack?: boolean;
  /** Where events wait while offline; null is memory only. Default localStorage. */
  storage?: Storage | null;
}

export interface Tracker {
  /**
   * Watch `root` and all elements in it, now and later, that have `data-fw-item`.
   * Returns a function that ends it. Default: the whole page.
   */
  observe(root?: Document | DocumentFragment | Element): () => void;
  /** The user opened the item, on its own page or in full. */
  view(item: Item, metadata?: Metadata): void;
  click(item: Item, metadata?: Metadata): void;
  like(item: Item, metadata?: Metadata): void;
  save(item: Item, metadata?: Metadata): void;
  share(item: Item, metadata?: Metadata): void;
  apply(item: Item, metadata?: Metadata): void;
  unapply(item: Item, metadata?: Metadata): void;
  dismiss(item: Item, metadata?: Metadata): void;
  search(wanted: Wanted): void;
  filter(wanted: Wanted): void;
  /** Any type, for what the page measures itself. */
  track(type: InteractionType, item: Item | null, metadata?: Metadata): void;
  /** Given: start. Withdrawn: stop, and forget what waits, in every tab's storage. */
  consent(given: boolean): void;
  /** Send what waits now. Resolves when the server has answered. */
  flush(): Promise<void>;
  /** End it: send what waits, watch nothing. */
  close(): void;
}

/** What the tracker uses of the browser; tests give their own. */
export type Page = typeof globalThis;

export function feedwright(config: Config, page: Page = globalThis): Tracker {
  const { document } = page;
  const url = config.url.replace(/\/+$/, "");
  const user = config.userId || subject(page, config.token);
  const asked = config.respectDoNotTrack !== false && saysNo(page);
  const possible = Boolean(document) && !asked; // a server renders pages, but nobody sees them
  let consent = config.consent !== false;
  let open = false; // the parts are at work
  let early: Parameters<typeof track>[] | null = null; // what a prerendered page says

  // Events that a token says the user of wait for a token of the same user.
  const owner = config.token ? encodeURIComponent(user ?? "") : "";
  const shelf = new Shelf(page, document ? config.storage : null, `feedwright ${url} `, `${owner} `);
  const queue = new Queue((events) => shelf.save(events));
  const sender = new Sender(queue, page, address(url, config), {
    seconds: config.batchSeconds ?? 5,
    size: config.batchSize ?? 20,
  });
  const watcher = new Watcher(page, config.feed ?? {}, track, {
    share: config.visibleShare ?? 0.5,
    ms: config.visibleMs ?? 1000,
  });

  function track(type: InteractionType, item: Item | null, metadata?: Metadata): void {
    if (!open) return void early?.push([type, item, metadata]);
    const event = {
      event_id: uuid(page),
      user_id: user,
      item_id: item == null ? undefined : idOf(item),
      type,
      occurred_at: new Date(page.Date.now()).toISOString(),
      metadata: { ...(item == null ? config.feed : watcher.about(item)), ...metadata },
    };
    queue.add(event);
    sender.poke();
  }

  const wake = () => {
    if (!open || document.visibilityState === "hidden") return;
    watcher.resume();
    sender.poke();
    shelf.adopt((events) => {
      queue.add(...events);
      sender.poke();
    });
  };
  const leave = () => {
    watcher.pause();
    queue.save();
    sender.beacon();
  };
  const look = () => (document.visibilityState === "hidden" ? leave() : wake());
  const hide = () => {
    leave();
    shelf.release(); // another tab may send the rest; a held lock would spoil going back
  };
  const show = () => {
    shelf.hold();
    wake();
  };
  const online = () => {
    wake();
    sender.retryNow();
  };
  const listeners = [
    [document, "visibilitychange", look],
    [page, "pagehide", hide],
    [page, "pageshow", show],
    [page, "online", online],
  ] as const;

  function start(): void {
    if (open || !possible || !consent) return;
    if ((document as { prerendering?: boolean }).prerendering) {
      early = []; // nobody has seen it
      return document.addEventListener("visibilitychange", start);
    }
    open = true;
    shelf.hold();
    for (const [target, name, act] of listeners) target.addEventListener(name, act);
    wake();
    early?.forEach((said) => track(...said));
    early = null;
  }

  function stop(): void {
    open = false;
    for (const [target, name, act] of listeners) target.removeEventListener(name, act);
    sender.rest();
    shelf.release();
  }

  if (!possible || !consent) shelf.clear(); // of a time when it was allowed
  start();

  const one = (type: InteractionType) => (item: Item, metadata?: Metadata) =>
    track(type, item, metadata);
  return {
    observe: (root = document) => (possible ? watcher.observe(root) : () => {}),
    view: one("view"),
    click: one("click"),
    like: one("like"),
    save: one("save"),
    share: one("share"),
    apply: one("apply"),
    unapply: one("unapply"),
    dismiss: one("dismiss"),
    search: (wanted) => track("search", null, wanted),
    filter: (wanted) => track("filter", null, wanted),
    track,
    consent(given) {
      consent = given;
      early = null;
      if (given) return start();
      if (open) stop();
      watcher.pause(true);
      queue.clear();
      shelf.clear();
    },
    flush: async () => void (open && (await sender.flush())),
    close() {
      watcher.close();
      consent = false;
      if (!open) return;
      leave();
      stop();
    },
  };
}

function address(url: string, { key, token }: Config): string {
  const query = new URLSearchParams();
  // In the address, not in headers: a beacon has none, and a plain request needs no preflight.
  if (key) query.set("key", key);
  if (token) query.set("token", token);
  return `${url}/api/v1/interactions?${query}`;
}

function saysNo({ navigator }: Page): boolean {
  const said = navigator as Navigator & { doNotTrack?: string; globalPrivacyControl?: boolean };
  return said?.doNotTrack === "1" || said?.globalPrivacyControl === true;
}

/** Whom a signed token names; the server checks the signature. */
function subject(page: Page, token = ""): string | undefined {
  try {
    const payload = token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/");
    return JSON.parse(decodeURIComponent(escape(page.atob(payload)))).sub;
  } catch {
    return undefined;
  }
}

function idOf(item: Item): string {
  return typeof item === "object" ? item.getAttribute("data-fw-item")! : String(item);
}

/** A UUID v4; randomUUID is not there on pages without https. */
function uuid({ crypto }: Page): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 15) | 64;
  bytes[8] = (bytes[8] & 63) | 128;
  const hex = [...bytes].map((byte) => (byte + 256).toString(16).slice(1)).join("");
  return hex.replace(/(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}
