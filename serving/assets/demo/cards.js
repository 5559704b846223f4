// The feed as cards: what an item is, the reason in words, and the components behind it.

import { $, calm, el } from "./dom.js";
import { age, component, kilometres, price, source, starts, table, tableOf } from "./words.js";

const list = $("cards");
let explained = matchMedia("(min-width: 64rem)").matches;

/** Which field of an item is its score, by the endpoint it came from. */
const SCORES = {
  recommendation_score: "score",
  trending_score: "trend",
  similarity: "similarity",
};

/** Of a score; tables that gave less are only among the bars. */
const MUCH = 0.2;

const ACTIONS = [["click", "Open"], ["save", "Save"], ["dismiss", "Not for me"]];

/** Shows that cards are on their way; old ones stay until the new ones are there. */
export function wait() {
  list.setAttribute("aria-busy", "true");
  if (list.children.length) return;
  list.replaceChildren(
    ...Array.from({ length: 6 }, () =>
      el("li", { class: "card skeleton", "aria-hidden": "true" },
        el("span"), el("span"), el("span"))),
  );
}

/**
 * Shows the first page of a feed. What was there before glides to its new place, and says
 * by how many ranks it moved if `compare` is set.
 */
export function show(entries, context) {
  const before = places();
  const ranks = new Map([...list.querySelectorAll("[data-id]")].map((card, index) =>
    [card.dataset.id, index + 1]));
  list.replaceChildren(...entries.map((entry) => {
    const made = card(entry, context);
    const rank = ranks.get(entry.item_id);
    if (context.compare && rank && rank !== entry.rank) {
      made.querySelector(".rank").append(moved(rank - entry.rank));
    }
    return made;
  }));
  list.removeAttribute("aria-busy");
  $("explain").hidden = !entries.some((entry) => entry.components);
  if (!calm()) move(before);
}

/** Shows one more page below; returns its first card. */
export function append(entries, context) {
  const cards = entries.map((entry) => card(entry, context));
  list.append(...cards);
  return cards[0];
}

export function clear() {
  list.replaceChildren();
  $("explain").hidden = true;
  list.removeAttribute("aria-busy");
}

function moved(up) {
  const [way, sign] = up > 0 ? ["up", "↑"] : ["down", "↓"];
  return el("small", { class: way }, el("span", { class: "hidden" }, ` moved ${way} `),
    `${sign}${Math.abs(up)}`);
}

/** Opens the explanations of all cards, now and to come, or closes them (`all` turns it over). */
export function explain({ all = false } = {}) {
  if (all) explained = !explained;
  for (const why of list.querySelectorAll("details")) why.open = explained;
  $("explain").setAttribute("aria-pressed", explained);
}

function card(entry, { catalogue, names, actions, onSimilar, onPoint }) {
  const item = catalogue.get(entry.item_id) ?? {};
  const title = item.title || `${names.item ?? "item"} ${entry.item_id}`;
  const distance = entry.distance_km != null ? `${kilometres(entry.distance_km)} away` : null;
  const facts = [
    item.category,
    item.city,
    distance,
    price(item.price_min, item.price_max),
    starts(item.starts_at) ?? (item.created_at && `added ${age(item.created_at)}`),
  ].filter(Boolean);
  return el("li", {
    class: "card",
    "data-id": entry.item_id,
    "data-fw-item": entry.item_id,
    "data-fw-position": entry.rank,
    "data-fw-propensity": entry.propensity,
    "data-fw-action": "none", // only what is pressed says something
    onpointerenter: () => onPoint(entry.item_id),
    onfocusin: () => onPoint(entry.item_id),
    onpointerleave: () => onPoint(null),
  },
  el("span", { class: "rank", title: "Rank" }, String(entry.rank)),
  el("div", { class: "what" },
    el("h3", {}, title),
    facts.length ? el("p", { class: "facts" }, facts.join(" · ")) : null,
    entry.reason ? el("p", { class: "reason" }, entry.reason) : null,
    chips("tags", "Tags", item.tags),
    el("div", { class: "foot" },
      ...(actions ? ACTIONS : []).map(([action, text]) => el("button", {
        type: "button",
        class: "quiet",
        "data-fw-action": action,
        "aria-label": `${text} ${title}`,
      }, text)),
      el("button", {
        type: "button",
        class: "quiet",
        "aria-label": `Similar to ${title}`,
        onclick: () => onSimilar(entry.item_id),
      }, "Similar"),
      entry.explored
        ? el("span", { class: "explored", title: "Shown to learn whether people like it" }, "Exploring")
        : null,
      entry.seen
        ? el("span", { class: "explored", title: "Little else is left that is new to this user" }, "Seen before")
        : null,
      chips("sources", "Found by", entry.sources?.map(source)),
      chips("tables", "Scored by", tables(entry.components)),
    ),
  ),
  why(entry, names));
}

function chips(kind, label, texts) {
  if (!texts?.length) return null;
  return el("ul", { class: kind, role: "list", "aria-label": label }, ...texts.map((text) => el("li", {}, text)));
}

/** "EASE 62 %": the tables that gave most of the model's score, the largest share first. */
function tables(components = {}) {
  return Object.entries(components)
    .filter(([name, share]) => tableOf(name) && share >= MUCH)
    .sort(([, one], [, other]) => other - one)
    .map(([name, share]) => `${table(tableOf(name))} ${Math.round(100 * share)} %`);
}

function why(entry, names) {
  const field = Object.keys(SCORES).find((name) => entry[name] != null);
  if (!field && !entry.components) return null;
  const score = field && el("b", {}, entry[field].toFixed(2));
  if (!entry.components) {
    return el("p", { class: "why" }, SCORES[field], " ", score);
  }
  return el("details", { class: "why", open: explained },
    el("summary", {}, el("span", {}, "Why this?"), " ", el("span", {}, SCORES[field] ?? "", " ", score)),
    el("dl", {}, ...Object.entries(entry.components).flatMap(([name, value]) => [
      el("dt", tableOf(name) ? { class: "part" } : {}, component(name, names)),
      value == null
        ? el("dd", { class: "unknown" }, "not known")
        : el("dd", {}, bar(value), value.toFixed(2)),
    ])));
}

function bar(value) {
  const level = el("i");
  level.style.setProperty("width", `${100 * Math.min(value, 1)}%`);
  return el("span", { class: "level", "aria-hidden": "true" }, level);
}

const places = () =>
  new Map([...list.querySelectorAll("[data-id]")].map((card) => [
    card.dataset.id, card.getBoundingClientRect().top,
  ]));

function move(before) {
  for (const card of list.children) {
    const old = before.get(card.dataset.id);
    const top = card.getBoundingClientRect().top;
    if (top > innerHeight) break; // nobody sees it
    const from = old == null
      ? { opacity: 0, transform: "translateY(8px)" }
      : { transform: `translateY(${old - top}px)` };
    card.animate([from, {}], { duration: 320, easing: "cubic-bezier(.2,.8,.2,1)" });
  }
}
