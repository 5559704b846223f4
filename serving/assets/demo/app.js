// The start of the page. Controls change the state; each change shows the page anew.

import { call, url } from "./api.js";
import * as cards from "./cards.js";
import * as controls from "./controls.js";
import { $ } from "./dom.js";
import * as feed from "./feed.js";
import * as picker from "./picker.js";
import * as place from "./place.js";
import { change, onChange, read, state } from "./state.js";
import * as track from "./track.js";

const TABS = ["feed", "trending", "near", "similar"];

function startTabs() {
  TABS.forEach((name, index) => {
    const tab = $(`tab-${name}`);
    tab.addEventListener("click", () => change({ tab: name }));
    tab.addEventListener("keydown", ({ key }) => {
      const keys = { ArrowRight: index + 1, ArrowLeft: index - 1, Home: 0, End: TABS.length - 1 };
      if (!(key in keys)) return;
      const other = TABS[(keys[key] + TABS.length) % TABS.length];
      $(`tab-${other}`).focus();
      change({ tab: other });
    });
  });
}

function showTabs() {
  for (const name of TABS) {
    const chosen = name === state.tab;
    $(`tab-${name}`).setAttribute("aria-selected", String(chosen));
    $(`tab-${name}`).tabIndex = chosen ? 0 : -1;
  }
  $("panel").setAttribute("aria-labelledby", `tab-${state.tab}`);
  $("panel-title").textContent = $(`tab-${state.tab}`).textContent;
  $("hours-field").hidden = state.tab !== "trending";
  $("radius-field").hidden = state.tab !== "near";
}

function show() {
  if (!TABS.includes(state.tab)) state.tab = "feed";
  picker.show(state.user);
  showTabs();
  controls.show();
  feed.load();
}

/** A first visit shows a personal feed at once: that of the first user there is. */
async function chooseSomebody() {
  const found = await call(url("users", { limit: 1 }));
  if (found.users.length) change({ user: found.users[0].id }, { replace: true });
}

async function start() {
  $("place-box").open = $("tune-box").open = matchMedia("(min-width: 64rem)").matches;
  read();
  startTabs();
  place.start();
  feed.start();
  track.start(feed.load);
  picker.start((user) => change({ user, lat: "", lon: "" }));
  cards.explain();
  $("explain").addEventListener("click", () => cards.explain({ all: true }));
  cards.wait();
  await controls.start();
  // Without the list of users there is still the feed of somebody new.
  if (!location.search) await chooseSomebody().catch(console.warn);
  onChange(show);
  show();
}

start();
