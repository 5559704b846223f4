// The words of the page: of variants, fallbacks and components, and of numbers and dates.

const COMPONENTS = {
  model: "Model",
  ranker: "Ranker",
  location: "Location",
  tags: "Interests",
  engagement: "Liked by others",
  recency: "New",
  owner_quality: "Owner quality",
  collaborative: "Similar people",
  content: "Similar items",
};

const TABLES = {
  als: "ALS",
  bpr: "BPR",
  ease: "EASE",
  nmf: "NMF",
  lightfm: "LightFM",
  lightfm_hybrid: "LightFM hybrid",
  item_knn: "liked together",
  user_knn: "similar users",
  transitions: "what follows what",
};

const SOURCES = {
  model: "model",
  similar_users: "similar people",
  similar_items: "similar items",
  near: "near",
  trending: "trending",
  fresh: "fresh",
  tags: "interests",
  popular: "popular",
  explore: "exploration",
};

const VARIANTS = {
  champion: "Ranked by the champion model",
  challenger: "Ranked by the challenger model",
  heuristic: "Ranked by the heuristic",
  time: "Sorted by time",
};

const FALLBACKS = {
  no_catalogue: "nothing has been loaded yet",
  catalogue_damaged: "the files of the catalogue are damaged",
  no_model: "there is no model yet",
  snapshot_missing: "the files of the model are gone",
  model_load_failed: "the model does not load",
  model_stale: "the model is older than the profile allows",
  database_unavailable: "the database is away",
  anonymous: "nobody is signed in, so there is nobody to personalise for",
  unknown_user: "nothing is known of this user yet",
  model_error: "the model failed for this request",
  time_budget_exceeded: "the model was too slow for this request",
  personalization_off: "this user has switched personalisation off",
  switched_off: "a flag switches it off",
  model_withdrawn: "this version was withdrawn",
  challenger_unavailable: "the challenger is not there",
};

const plain = (name) => name.replaceAll("_", " ");
const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** "ease" of "table.ease"; null: the component is of no table. */
export const tableOf = (name) => name.startsWith("table.") ? name.slice("table.".length) : null;

export function table(name) {
  const base = name.replace(/_recent$/, "");
  return (TABLES[base] ?? plain(base)) + (base === name ? "" : ", recent");
}

export function component(name, names = {}) {
  if (tableOf(name)) return table(tableOf(name));
  if (name.startsWith("probability.")) return `Chance: ${plain(name.slice("probability.".length))}`;
  if (name === "owner_quality" && names.owner) return `${capital(names.owner)} quality`;
  return COMPONENTS[name] ?? capital(plain(name));
}

export const source = (name) => SOURCES[name] ?? plain(name);
export const fallback = (reason) => FALLBACKS[reason] ?? plain(reason);

/** "Ranked by the champion model, version 3 · 1,682 items" */
export function ranking(page, { weights, profile }) {
  const parts = [VARIANTS[page.variant] ?? `Ranked by ${plain(page.variant)}`];
  if (page.variant === "heuristic") {
    if (weights) parts[0] = "Ranked by your weights";
    else if (profile) parts[0] = `Ranked by the weights of ${profile}`;
  }
  if (page.model_version) parts[0] += `, version ${page.model_version}`;
  if (page.fallback_reason) parts[0] += `: ${fallback(page.fallback_reason)}`;
  parts.push(count(page.total, "item"));
  return parts.join(" · ");
}

const integer = new Intl.NumberFormat("en");
const decimal = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const day = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium" });
const moment = new Intl.DateTimeFormat("en-GB", {
  weekday: "short", day: "numeric", month: "short", hour: "2-digit", minute: "2-digit",
});

export const count = (number, noun) =>
  `${integer.format(number)} ${noun}${number === 1 ? "" : "s"}`;
export const milliseconds = (value) => `${decimal.format(value)} ms`;
export const kilometres = (value) =>
  value < 1 ? `${Math.round(value * 1000)} m` : `${decimal.format(value)} km`;

export function price(low, high) {
  if (low == null && high == null) return null;
  const [from, to] = [low ?? high, high ?? low].map((amount) => integer.format(amount));
  return `price ${from === to ? from : `${from}–${to}`}`;
}

export const starts = (time) => time && moment.format(new Date(time));

/** "today", "5 days ago", or the date when it is long past. */
export function age(time) {
  if (!time) return null;
  const days = Math.floor((Date.now() - new Date(time)) / 86_400_000);
  if (days < 0 || days > 30) return day.format(new Date(time));
  return days === 0 ? "today" : days === 1 ? "yesterday" : `${days} days ago`;
}

export const place = (lat, lon) =>
  `${Math.abs(lat).toFixed(2)}° ${lat < 0 ? "S" : "N"}, ` +
  `${Math.abs(lon).toFixed(2)}° ${lon < 0 ? "W" : "E"}`;
