// How long somebody looks at one item.

import type { Page } from "./feedwright";

const LEAST_DWELL_MS = 1000;
const LONGEST_DWELL = 600; // seconds: after that, somebody has left the room

/** A clock that runs while the item can be seen. */
export class Attention {
  private since: number | null = null;
  private timer: ReturnType<typeof setTimeout> | undefined;

  /**
   * @param seen is called once it has run for `ms` without a stop, in every run.
   * @param dwelt is told the seconds of a run that ends, from one second.
   */
  constructor(
    private page: Page,
    private ms: number,
    private seen: () => void,
    private dwelt: (seconds: number) => void,
  ) {}

  start(): void {
    if (this.since != null) return;
    this.since = this.page.performance.now();
    this.timer = this.page.setTimeout(this.seen, this.ms);
  }

  stop(silently = false): void {
    if (this.since == null) return;
    const ms = this.page.performance.now() - this.since;
    this.since = null;
    this.page.clearTimeout(this.timer);
    if (silently) return;
    if (ms >= this.ms) this.seen(); // a busy page can hold timers up
    if (ms >= LEAST_DWELL_MS) this.dwelt(Math.min(Math.round(ms / 100) / 10, LONGEST_DWELL));
  }
}
