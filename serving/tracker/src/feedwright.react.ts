// React: the tracker as a hook, and an item's attributes as props.

import { useEffect, useState } from "react";
import { feedwright, type Config, type Tracker } from "./feedwright";

/**
 * A tracker that watches the whole page while the component is there; null until it is, and on a
 * server. Another url, key, user or token makes another tracker.
 */
export function useFeedwright(config: Config): Tracker | null {
  const [tracker, setTracker] = useState<Tracker | null>(null);
  const { url, key, userId, token, consent } = config;
  useEffect(() => {
    const made = feedwright(config);
    made.observe();
    setTracker(made);
    return () => {
      made.close();
      setTracker(null);
    };
  }, [url, key, userId, token]);
  useEffect(() => {
    if (tracker && consent != null) tracker.consent(consent);
  }, [tracker, consent]);
  return tracker;
}

/** What `useTrackedItem` may say of where the item is shown. */
export interface Shown {
  feed_id?: string;
  variant?: string;
  model_version?: string | null;
  position?: number;
  propensity?: number;
}

/** Props that make an element a tracked item: `<li {...useTrackedItem(id, {position})}>`. */
export function useTrackedItem(id: string | number, shown: Shown = {}): Record<string, string | number | undefined> {
  return {
    "data-fw-item": id,
    "data-fw-feed": shown.feed_id,
    "data-fw-variant": shown.variant,
    "data-fw-model": shown.model_version ?? undefined,
    "data-fw-position": shown.position,
    "data-fw-propensity": shown.propensity,
  };
}
