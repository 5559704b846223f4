// What the page shows is in its address, so that a view can be shared and Back works.

const DEFAULTS = {
  user: "", // nobody: an anonymous viewer
  tab: "feed",
  item: "", // whose similar items are shown
  profile: "",
  variant: "",
  sort: "",
  exclude_seen: "",
  exclude_applied: "",
  weights: "",
  lat: "",
  lon: "",
  hours: "168",
  radius: "25",
};

export const state = { ...DEFAULTS };
const listeners = [];

export function read() {
  const query = new URLSearchParams(location.search);
  for (const key of Object.keys(DEFAULTS)) state[key] = query.get(key) ?? DEFAULTS[key];
}

/** Changes the state and tells the listeners; `replace` adds no step to the browser's history. */
export function change(changes, { replace = false } = {}) {
  Object.assign(state, changes);
  const query = new URLSearchParams();
  for (const [key, value] of Object.entries(state)) {
    // The user always: a bare address means a first visit.
    if (key === "user" || value !== DEFAULTS[key]) query.set(key, value);
  }
  const readable = query.toString().replaceAll("%3A", ":").replaceAll("%2C", ",");
  history[replace ? "replaceState" : "pushState"](null, "", `?${readable}`);
  listeners.forEach((listener) => listener());
}

export function onChange(listener) {
  listeners.push(listener);
}

addEventListener("popstate", () => {
  read();
  listeners.forEach((listener) => listener());
});
