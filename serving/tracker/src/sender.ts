// When events go out, and what becomes of them.

import type { Page } from "./feedwright";
import { body, type Entry, type Queue } from "./queue";
import { warn } from "./warn";

const MOST_ENTRIES = 1000; // in one request: what the server takes
const LONGEST_WAIT = 300; // seconds between attempts
const LONGEST_TOLD = 3600; // the same, where the server says it
const GIVE_UP_MS = 30_000; // on an answer

interface Result {
  event_id: string;
  outcome: "accepted" | "duplicate" | "rejected";
  field?: string;
  reason: string | null;
  /** Seconds after which it may come again: it is over its user's limit. */
  retry_after?: number | null;
}

/** Sends what waits in a queue: together, again when that fails, and when the page ends. */
export class Sender {
  private timer: ReturnType<typeof setTimeout> | undefined;
  private running: Promise<void> | undefined;
  private sending: Entry[] = [];
  private most = MOST_ENTRIES;
  private failures = 0;
  private notBefore = 0;
  private refused = false;

  constructor(
    private queue: Queue,
    private page: Page,
    private address: string,
    private batch: { seconds: number; size: number },
  ) {}

  /** Something waits: send it now if it is much, else in time. */
  poke(): void {
    const waiting = this.queue.kept.length;
    if (!waiting || this.running || this.cannot()) return;
    const rest = this.notBefore - this.page.Date.now();
    if (rest <= 0 && waiting >= this.batch.size) void this.flush();
    else {
      const ms = Math.max(rest, 1000 * this.batch.seconds);
      this.timer ??= this.page.setTimeout(() => void this.flush(), ms);
    }
  }

  retryNow(): void {
    this.rest();
    this.notBefore = 0;
    void this.flush();
  }

  /** No attempt until the next `poke`. */
  rest(): void {
    this.page.clearTimeout(this.timer);
    this.timer = undefined;
  }

  flush(): Promise<void> {
    this.running ??= this.run().finally(() => {
      this.running = undefined;
      this.sending = [];
      this.poke();
    });
    return this.running;
  }

  private async run(): Promise<void> {
    this.rest();
    do {
      if (this.cannot() || this.page.Date.now() < this.notBefore) return;
      this.sending = this.queue.first(this.most);
      if (!this.sending.length) return;
      await this.send(this.sending);
    } while (this.queue.kept.length >= this.batch.size || this.most < MOST_ENTRIES);
  }

  private async send(entries: Entry[]): Promise<void> {
    const abort = new AbortController();
    const timer = this.page.setTimeout(() => abort.abort(), GIVE_UP_MS);
    let answer: Response;
    let results: Result[] | undefined;
    try {
      answer = await this.page.fetch(this.address, {
        method: "POST",
        body: body(entries),
        credentials: "omit",
        keepalive: true,
        signal: abort.signal,
      });
      if (answer.ok) ({ results } = await answer.json());
    } catch {
      return this.wait(); // no network, or an answer that is not Feedwright's
    } finally {
      this.page.clearTimeout(timer);
    }
    const { status } = answer;
    if (results) {
      const later = results.find((one) => one.retry_after);
      const bad = results.find((one) => one.outcome === "rejected" && !one.retry_after);
      // All are final, but for those over their user's limit.
      this.queue.remove(entries.filter((_, at) => !results![at]?.retry_after));
      this.failures = 0;
      this.most = Math.min(MOST_ENTRIES, 2 * this.most);
      if (later) this.wait(later.retry_after);
      if (bad) warn(`event ${bad.event_id} rejected: ${bad.field ?? ""} ${bad.reason}`);
    } else if (status === 401 || status === 403) {
      this.refused = true;
      warn(`key rejected: ${status}`);
    } else if (status === 400 || status === 413 || status === 422) {
      // One of them is the reason: halves find it, and it goes alone.
      if (entries.length > 1) this.most = Math.ceil(entries.length / 2);
      else {
        this.queue.remove(entries);
        warn(`event rejected: ${status} ${entries[0].text}`);
      }
    } else {
      this.wait(answer.headers.get("Retry-After"));
    }
  }

  /** Back off, twice as long each time and by chance, not to come back in step with others. */
  private wait(after?: string | number | null): void {
    const now = this.page.Date.now();
    const own = Math.min(LONGEST_WAIT, 2 ** ++this.failures) * (0.5 + Math.random() / 2);
    const told = Number(after) || (Date.parse(`${after}`) - now) / 1000 || 0;
    this.notBefore = now + 1000 * Math.min(LONGEST_TOLD, Math.max(own, told));
  }

  /** The key is refused, or there is no network: an "online" event will tell of it. */
  private cannot(): boolean {
    return this.refused || this.page.navigator.onLine === false;
  }

  /**
   * The page may end: hand what waits to the browser. It stays in the queue, as a beacon never
   * tells whether it arrived; what arrives again is a duplicate to the server.
   */
  beacon(): void {
    this.rest();
    if (this.cannot()) return;
    const sending = new Set(this.sending);
    const waits = (entry: Entry) => !entry.beaconed && !sending.has(entry);
    for (;;) {
      const entries = this.queue.first(MOST_ENTRIES, waits);
      if (!entries.length || !this.page.navigator.sendBeacon(this.address, body(entries))) return;
      entries.forEach((entry) => (entry.beaconed = true));
    }
  }
}
