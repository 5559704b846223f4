// Which items can be seen, and which are clicked.

import { Attention } from "./attention";
import type { Feed, InteractionType, Item, Metadata, Page } from "./feedwright";

const ITEM = "data-fw-item";
const FEED = "data-fw-feed";
/** By name in the metadata: attributes `data-fw-…` of an item's element, or of one around it. */
const ATTRIBUTES = {
  feed_id: "feed",
  variant: "variant",
  model_version: "model",
  position: "position",
  propensity: "propensity",
};
const CLICKS = ["click", "auxclick"];
const STEPS = Array.from({ length: 21 }, (_, step) => step / 20);

interface Watched {
  item: string;
  about: Metadata;
  visible: boolean;
  attention: Attention;
}

export class Watcher {
  private watched = new Map<Element, Watched>();
  private known = new Map<string, Metadata>(); // by item: where it was last shown
  private seen = new Set<string>();
  private paused = true;
  private changes: MutationObserver[] = [];
  private sight: IntersectionObserver | undefined;

  constructor(
    private page: Page,
    private feed: Feed,
    private tell: (type: InteractionType, item: string, about: Metadata) => void,
    private visible: { share: number; ms: number },
  ) {}

  observe(root: Document | DocumentFragment | Element): () => void {
    if (!this.sight) {
      this.sight = new this.page.IntersectionObserver((all) => this.look(all), { threshold: STEPS });
      for (const name of CLICKS) this.page.document.addEventListener(name, this.clicked, true);
    }
    this.scan(root);
    const changes = new this.page.MutationObserver((records) => {
      if (records.some(({ removedNodes }) => removedNodes.length)) {
        for (const [element] of this.watched) if (!element.isConnected) this.forget(element);
      }
      for (const { type, target, addedNodes } of records) {
        for (const node of type === "attributes" ? [target] : addedNodes) {
          if ("getAttribute" in node) this.scan(node as Element);
        }
      }
    });
    changes.observe(root, {
      childList: true,
      subtree: true,
      attributes: true,
      attributeFilter: [ITEM, FEED],
    });
    this.changes.push(changes);
    return () => {
      changes.disconnect();
      for (const [element] of this.watched) if (root.contains(element)) this.forget(element);
    };
  }

  /** Clocks stop; what they measured is told, unless `silently`. */
  pause(silently = false): void {
    this.paused = true;
    this.watched.forEach(({ attention }) => attention.stop(silently));
  }

  resume(): void {
    this.paused = false;
    this.watched.forEach(({ visible, attention }) => visible && attention.start());
  }

  close(): void {
    this.pause();
    this.changes.forEach((changes) => changes.disconnect());
    this.sight?.disconnect();
    this.watched.clear();
    for (const name of CLICKS) this.page.document?.removeEventListener(name, this.clicked, true);
  }

  /** Metadata of an item: what its element says, or said when it was last there. */
  about(item: Item): Metadata {
    if (typeof item !== "object") return this.known.get(String(item)) ?? this.feed;
    return this.watched.get(item)?.about ?? this.read(item);
  }

  private read(element: Element): Metadata {
    const about: Metadata = { ...this.feed };
    for (const [name, short] of Object.entries(ATTRIBUTES)) {
      const attribute = `data-fw-${short}`;
      const value = element.closest(`[${attribute}]`)?.getAttribute(attribute);
      if (value) about[name] = name[0] === "p" ? Number(value) : value; // the two numbers
    }
    return about;
  }

  private scan(root: Document | DocumentFragment | Element): void {
    if ("getAttribute" in root) this.watch(root);
    root.querySelectorAll(`[${ITEM}]`).forEach((element) => this.watch(element));
  }

  private watch(element: Element): void {
    const item = element.getAttribute(ITEM);
    const before = this.watched.get(element);
    if (!item) return before && this.forget(element);
    const about = this.read(element);
    if (before?.item === item && before.about.feed_id === about.feed_id) return;
    if (before) this.forget(element);
    const name = JSON.stringify([about.feed_id, item]);
    const seen = () => {
      if (this.seen.has(name)) return;
      this.seen.add(name);
      this.tell("impression", item, about);
    };
    const attention = new Attention(this.page, this.visible.ms, seen, (seconds) =>
      this.tell("dwell", item, { ...about, seconds }),
    );
    this.watched.set(element, { item, about, visible: false, attention });
    this.known.set(item, about);
    this.sight!.observe(element);
  }

  private forget(element: Element): void {
    this.watched.get(element)?.attention.stop();
    this.watched.delete(element);
    this.sight!.unobserve(element);
  }

  private look(entries: IntersectionObserverEntry[]): void {
    for (const { target, isIntersecting, intersectionRatio, intersectionRect, rootBounds } of entries) {
      const watched = this.watched.get(target);
      if (!watched) continue;
      // An item taller than the window can never be seen as a whole: it may fill the window.
      const filled = rootBounds ? intersectionRect.height / rootBounds.height : 0;
      const share = this.visible.share - 0.005; // browsers round
      watched.visible = isIntersecting && (intersectionRatio >= share || filled >= share);
      if (!watched.visible) watched.attention.stop();
      else if (!this.paused) watched.attention.start();
    }
  }

  /** `data-fw-action` on a control names what a click on it means; "none": nothing. */
  private clicked = (event: Event): void => {
    if ((event as MouseEvent).button > 1) return;
    let action: string | null = null;
    for (const node of event.composedPath()) {
      if (!("getAttribute" in node)) continue;
      const element = node as Element;
      action ??= element.getAttribute("data-fw-action");
      const watched = this.watched.get(element);
      if (!watched) continue;
      if (action !== "none") this.tell(action ?? "click", watched.item, watched.about);
      return;
    }
  };
}
