// Words and numbers of the page.

const integer = new Intl.NumberFormat("en");
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const day = new Intl.DateTimeFormat("en-GB", { weekday: "short", day: "numeric", month: "short" });
const minute = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const moment = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short" });

const RANKED_BY = {
  champion: "champion",
  challenger: "challenger",
  heuristic: "heuristic",
  time: "by time",
};

export const METRICS = {
  ctr: { name: "Clicks per impression", parts: ["clicks", "impressions"] },
  conversion: { name: "Applies per click", parts: ["applies", "ripe clicks"] },
  dwell: { name: "Dwell per impression", parts: ["seconds", "impressions"], unit: "s" },
  save_rate: { name: "Saves per impression", parts: ["saves", "impressions"] },
  dismiss_rate: { name: "Dismissals per impression", parts: ["dismissals", "impressions"] },
  coverage: { name: "Items shown", parts: ["items", "items"] },
};

const RECOMMENDERS = {
  lightfm_hybrid: "LightFM hybrid",
  lightfm: "LightFM alone",
  als: "ALS",
  bpr: "BPR",
  nmf: "NMF",
  ease: "EASE",
  item_knn: "Item neighbours",
  user_knn: "User neighbours",
  popularity: "Popularity",
  heuristic: "Heuristic",
};

export const plain = (name) => String(name).replaceAll("_", " ");
export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
export const metric = (name) => METRICS[name]?.name ?? capital(plain(name));
export const rankedBy = (name) => RANKED_BY[name] ?? plain(name ?? "as usual");

/** "ease-boosted" → "EASE, boosted ranker" */
export function recommender(name) {
  if (!name) return "unknown model";
  const [first, ranker] = name.split("-");
  const known = RECOMMENDERS[first] ?? capital(plain(first));
  return ranker ? `${known}, ${plain(ranker)} ranker` : known;
}

/** "ndcg_at_10" → "nDCG@10" */
export const offline = (name) =>
  name.replace("_at_", "@").replace(/^ndcg/, "nDCG").replace(/^map/, "MAP").replace(/^mrr/, "MRR")
    .replaceAll("_", " ");

export const count = (number, noun) =>
  noun ? `${integer.format(number)} ${noun}${number === 1 ? "" : "s"}` : integer.format(number);
export const short = (number) => (number == null ? "–" : compact.format(number));

/** A share, with as many digits as tell something. */
export function percent(share) {
  if (share == null) return "–";
  const value = 100 * share;
  const digits = value === 0 || Math.abs(value) >= 10 ? 0 : Math.abs(value) >= 1 ? 1 : 2;
  return `${value.toFixed(value >= 10 && value % 1 ? 1 : digits)} %`;
}

/** A share that somebody chose, as they wrote it. */
export const part = (share) => `${+(100 * share).toFixed(3)} %`;

export const signed = (share) =>
  share == null ? "–" : `${share > 0 ? "+" : share < 0 ? "−" : ""}${percent(Math.abs(share))}`;

export function rate(name, value) {
  if (value == null) return "–";
  return METRICS[name]?.unit ? `${value.toFixed(value < 10 ? 2 : 1)} ${METRICS[name].unit}` : percent(value);
}

export function milliseconds(value) {
  if (value == null) return "–";
  return value >= 1000 ? `${(value / 1000).toFixed(1)} s` : `${value.toFixed(value && value < 10 ? 1 : 0)} ms`;
}

/** 5400 → "1.5 h" */
export function span(seconds) {
  if (seconds == null) return "never";
  const at = Math.max(seconds, 0);
  if (at < 90) return `${Math.round(at)} s`;
  if (at < 90 * 60) return `${Math.round(at / 60)} min`;
  if (at < 48 * 3600) return `${(at / 3600).toFixed(at < 36_000 ? 1 : 0).replace(/\.0$/, "")} h`;
  return `${Math.round(at / 86_400)} days`;
}

export const ago = (time) =>
  time ? `${span((Date.now() - new Date(time)) / 1000)} ago` : "never";
export const at = (time) => moment.format(new Date(time));
export const hour = (time) => minute.format(new Date(time));
export const date = (time) => day.format(new Date(time));
