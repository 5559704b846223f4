// The feed of the open tab: what is asked for, page after page, and what the answers become.

import { call, itemsOf, Problem, url } from "./api.js";
import * as cards from "./cards.js";
import * as controls from "./controls.js";
import { $, calm, el } from "./dom.js";
import { askForKey } from "./key.js";
import * as map from "./map.js";
import * as place from "./place.js";
import { change, state } from "./state.js";
import * as track from "./track.js";
import * as viewer from "./viewer.js";
import * as words from "./words.js";

const PAGE = 20;
const LIST = 50; // of trending, near and similar, which have no pages
const AUTOMATIC = 5; // pages that scrolling loads; then the button, so that the footer is in reach

let running = new AbortController();
let next = null; // path of the next page
let pages = 0;
let shown = []; // entries on the page
let subject = ""; // whose feed of which tab they are

export function start() {
  $("more").addEventListener("click", () => more({ byHand: true }));
  new IntersectionObserver(([entry]) => {
    if (entry.isIntersecting && pages < AUTOMATIC && !$("more").hidden) more({ byHand: false });
  }, { rootMargin: "400px" }).observe($("sentinel"));
}

/** Shows what the state asks for, and gives up what was being loaded. */
export async function load() {
  running.abort();
  running = new AbortController();
  const { signal } = running;
  $("problem").replaceChildren();
  $("more").hidden = true;
  cards.wait();
  try {
    await track.follow();
    const known = viewer.load(signal).then(place.show);
    if (state.tab === "near") await known; // it asks for what is near them
    const wanted = request();
    if (!wanted) {
      await known;
      return showNothing();
    }
    const [page] = await Promise.all([call(wanted.path, { signal, body: wanted.body }), known]);
    const catalogue = await catalogueOf(page, signal);
    const before = subject;
    subject = [state.user, state.tab, state.item].join(" ");
    pages = 1;
    shown = page.items;
    next = page.next ?? null;
    if (!shown.length) return showNothing();
    track.shown(page);
    cards.show(shown, { ...context(catalogue), compare: subject === before });
    settle(page, catalogue);
  } catch (error) {
    if (error.name === "AbortError") return;
    clear();
    failed(error);
  }
}

async function more({ byHand }) {
  if (!next) return;
  const { signal } = running;
  const path = next;
  next = null; // one at a time
  $("more").disabled = true;
  try {
    const page = await call(path.replace(/^\//, ""), { signal });
    const catalogue = await catalogueOf(page, signal);
    pages += 1;
    shown = shown.concat(page.items);
    next = page.next ?? null;
    const first = cards.append(page.items, context(catalogue));
    if (byHand) first?.querySelector("button").focus({ preventScroll: true });
    settle(page, catalogue);
  } catch (error) {
    if (error.name === "AbortError") return;
    next = path; // the button tries again
    pages = AUTOMATIC;
    failed(error);
  } finally {
    $("more").disabled = false;
  }
}

/** Where to ask, and with what body; null when a choice is missing. */
function request() {
  const { user, tab, item, hours, radius } = state;
  if (tab === "trending") {
    return { path: url("feed/trending", { user_id: user, hours, limit: LIST }) };
  }
  if (tab === "similar") {
    if (!item) return null;
    return {
      path: url(`feed/similar/${encodeURIComponent(item)}`, { user_id: user, limit: LIST }),
    };
  }
  if (tab === "near") {
    const at = place.here();
    if (!at) return null;
    const body = { lat: at.lat, lon: at.lon, radius_km: Number(radius), limit: LIST };
    return { path: url("feed/nearby"), body: user ? { ...body, user_id: user } : body };
  }
  const { sort, exclude_seen, exclude_applied, lat, lon, variant, profile, weights } = state;
  const how = { sort, exclude_seen, exclude_applied, lat, lon, variant, profile, weights };
  return { path: url("feed", { user_id: user, limit: PAGE, ...how }) };
}

/** What is known of the items of a page; the feed answers even when the catalogue does not. */
async function catalogueOf(page, signal) {
  const ids = page.items.map((entry) => entry.item_id);
  try {
    return await itemsOf(state.item ? [...ids, state.item] : ids, signal);
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    $("problem").replaceChildren(el("p", { class: "hint" }, `No titles now: ${error.message}`));
    return new Map();
  }
}

const context = (catalogue) => ({
  catalogue,
  actions: track.acting(),
  names: controls.profile().names ?? {},
  onPoint: map.point,
  onSimilar: (item) => {
    change({ tab: "similar", item });
    $("panel").focus({ preventScroll: true });
    scrollTo({ top: 0, behavior: calm() ? "auto" : "smooth" });
  },
});

function settle(page, catalogue) {
  $("more").hidden = !next;
  $("status").textContent = summary(page, catalogue);
  map.showItems(shown.flatMap(({ item_id: id }) => {
    const { lat, lon, title } = catalogue.get(id) ?? {};
    return lat == null || lon == null ? [] : [{ id, lat, lon, title: title || id }];
  }));
}

function summary(page, catalogue) {
  const number = words.count(shown.length, "item");
  if (state.tab === "trending") return `What people are busy with now · ${number}`;
  if (state.tab === "similar") {
    return `Like ${catalogue.get(state.item)?.title || state.item} · ${number}`;
  }
  if (state.tab === "near") {
    const at = place.here();
    return `Nearest to ${words.place(at.lat, at.lon)} · ${number}`;
  }
  return words.ranking(page, state);
}

function clear() {
  cards.clear();
  shown = [];
  next = null;
  $("status").textContent = "";
  map.showItems([]);
}

function showNothing() {
  clear();
  const texts = {
    feed: "Nothing to show. Is the catalogue empty, or does a switch hide everything?",
    trending: "Nothing was busy in this time. Try a longer one.",
    near: place.here()
      ? "Nothing is this near. Try a wider circle, or another place on the map."
      : "Choose a place on the map to see what is near it.",
    similar: state.item
      ? "Nothing similar is known yet."
      : "Press “Similar” on a card to see more like it.",
  };
  $("problem").replaceChildren(el("p", { class: "empty" }, texts[state.tab]));
}

function failed(error) {
  if (!(error instanceof Problem)) throw error;
  const locked = error.status === 401 || error.status === 403;
  $("problem").replaceChildren(el("div", { class: "failed" },
    el("p", {}, error.message),
    error.requestId ? el("p", { class: "hint" }, `request ${error.requestId}`) : null,
    locked
      ? askForKey(() => location.reload()) // what failed before the feed is asked for again too
      : el("button", { type: "button", onclick: load }, "Try again")));
}
