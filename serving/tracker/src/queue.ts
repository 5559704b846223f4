// Events that the server has not confirmed, in order, bounded.

import { warn } from "./warn";

export const MOST_EVENTS = 1000;
export const MOST_BYTES = 256_000;
export const MOST_REQUEST = 60_000; // bytes; browsers let 64 kB go out while a page closes
const FRAME = 20; // bytes around the events of a request

export interface Entry {
  text: string; // JSON
  bytes: number;
  /** An impression: the first to go when there is no room. */
  light: boolean;
  /** A beacon took it, and nobody knows whether it arrived. */
  beaconed?: boolean;
}

export class Queue {
  kept: Entry[] = [];
  private bytes = 0;

  /** @param store is told the JSON of all events after each change. */
  constructor(private store: (events: string | null) => void) {}

  /** Adds events; the oldest impressions, then the oldest events, make room for them. */
  add(...events: { type?: unknown }[]): void {
    for (const event of events) {
      const text = JSON.stringify(event);
      const bytes = new TextEncoder().encode(text).length;
      if (bytes > MOST_REQUEST - FRAME) {
        warn(`${event.type} rejected: ${bytes} bytes`);
        continue;
      }
      this.kept.push({ text, bytes, light: event.type === "impression" });
      this.bytes += bytes;
    }
    while (this.kept.length > MOST_EVENTS || this.bytes > MOST_BYTES) {
      const light = this.kept.findIndex((entry) => entry.light);
      this.bytes -= this.kept.splice(Math.max(light, 0), 1)[0].bytes;
    }
    this.save();
  }

  /** The first events of those that fit into one request, at most `most`; they stay here. */
  first(most: number, wanted: (entry: Entry) => boolean = () => true): Entry[] {
    const found: Entry[] = [];
    let room = MOST_REQUEST - FRAME;
    for (const entry of this.kept.filter(wanted).slice(0, most)) {
      room -= entry.bytes + 1;
      if (room < 0) break;
      found.push(entry);
    }
    return found;
  }

  remove(entries: Entry[]): void {
    const gone = new Set(entries);
    this.kept = this.kept.filter((entry) => !gone.has(entry));
    this.bytes = this.kept.reduce((sum, entry) => sum + entry.bytes, 0);
    this.save();
  }

  clear(): void {
    this.remove(this.kept);
  }

  save(): void {
    this.store(this.kept.length ? `[${this.kept.map((entry) => entry.text)}]` : null);
  }
}

/** The body of a request with these events. */
export function body(entries: Entry[]): string {
  return `{"interactions":[${entries.map((entry) => entry.text)}]}`;
}
