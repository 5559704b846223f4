export type InteractionType = "impression" | "view" | "click" | "dwell" | "like" | "save" | "share" | "apply" | "unapply" | "dismiss" | "search" | "filter" | (string & {});
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
export declare function feedwright(config: Config, page?: Page): Tracker;
