import { type Config, type Tracker } from "./feedwright";
/**
 * A tracker that watches the whole page while the component is there; null until it is, and on a
 * server. Another url, key, user or token makes another tracker.
 */
export declare function useFeedwright(config: Config): Tracker | null;
/** What `useTrackedItem` may say of where the item is shown. */
export interface Shown {
    feed_id?: string;
    variant?: string;
    model_version?: string | null;
    position?: number;
    propensity?: number;
}
/** Props that make an element a tracked item: `<li {...useTrackedItem(id, {position})}>`. */
export declare function useTrackedItem(id: string | number, shown?: Shown): Record<string, string | number | undefined>;
