// Waiting events in the browser's storage. Each tab writes only under its own name, so tabs never
// overwrite each other. Whoever finds the events of a tab that is gone sends them; should two do
// so, the server keeps each event once.

import type { Page } from "./feedwright";

const ALIVE_MS = 60_000; // without locks: a tab that wrote lately is still there
const SETTLE_MS = 1000;
const AT_ONCE = { ifAvailable: true };

export class Shelf {
  private store: Storage | null = null;
  private own: string;
  private holding = false;
  private end: (() => void) | undefined;

  /**
   * @param storage null: keeps nothing; undefined: localStorage, where the browser allows it.
   * @param prefix of all names of this tracker's server; with `owner`, of those to adopt.
   */
  constructor(
    private page: Page,
    storage: Storage | null | undefined,
    private prefix: string,
    private owner: string,
  ) {
    this.own = prefix + owner + Math.random().toString(36).slice(2);
    this.attempt(() => {
      this.store = storage === undefined ? page.localStorage : storage;
    });
  }

  save(events: string | null): void {
    this.attempt(() => {
      if (events) this.store?.setItem(this.own, `[${this.page.Date.now()},${events}]`);
      else this.store?.removeItem(this.own);
    });
  }

  /** Says to other tabs that this one lives. */
  hold(): void {
    if (!this.store || this.holding) return;
    this.holding = true;
    const held = () =>
      new Promise<void>((end) => {
        this.end = end;
        if (!this.holding) end(); // released before it was granted
      });
    this.page.navigator.locks?.request(this.own, held).catch(() => {}); // forbidden: as if none
  }

  release(): void {
    this.holding = false;
    this.end?.();
  }

  /** Hands over the events of tabs that are gone; `take` must have stored them on return. */
  adopt(take: (events: object[]) => void): void {
    const locks = this.page.navigator.locks;
    for (const name of this.names(this.owner)) {
      if (name === this.own) continue;
      const move = () =>
        this.attempt(() => {
          const [at, events] = JSON.parse(this.store!.getItem(name)!);
          if (!locks && this.page.Date.now() - at < ALIVE_MS) return;
          take(events);
          this.store!.removeItem(name);
        });
      // What another process wrote last may take a moment to be seen here.
      const settle = () => new Promise<void>((end) => this.page.setTimeout(end, SETTLE_MS));
      if (!locks) move();
      else locks.request(name, AT_ONCE, (lock) => lock && settle().then(move)).catch(() => {});
    }
  }

  /** Removes the events of all tabs. */
  clear(): void {
    for (const name of this.names()) this.attempt(() => this.store!.removeItem(name));
  }

  private names(owner = ""): string[] {
    const names: string[] = [];
    this.attempt(() => {
      for (let at = 0; at < (this.store?.length ?? 0); at++) names.push(this.store!.key(at)!);
    });
    return names.filter((name) => name.startsWith(this.prefix + owner));
  }

  /** Storage may be forbidden, full or changed by others; events then wait in memory only. */
  private attempt(act: () => void): void {
    try {
      act();
    } catch {}
  }
}
