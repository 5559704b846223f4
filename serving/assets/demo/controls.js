// Profile, variant, order, switches and weights: each one changes the state and shows it.

import { call, Problem, url } from "./api.js";
import { $, debounce, el } from "./dom.js";
import { change, state } from "./state.js";
import { component } from "./words.js";

const SELECTS = ["variant", "sort", "hours", "radius"];
const SWITCHES = ["exclude_seen", "exclude_applied"];
let profiles = {};
let active = "";
let drawn = ""; // the profile whose sliders are there

export async function start() {
  for (const id of SELECTS) $(id).addEventListener("change", () => change({ [id]: $(id).value }));
  for (const id of SWITCHES) {
    $(id).addEventListener("change", () => change({ [id]: $(id).checked ? "false" : "" }));
  }
  $("profile").addEventListener("change", () => {
    const name = $("profile").value;
    change({ profile: name === active ? "" : name, weights: "" });
  });
  $("reset").addEventListener("click", () => change({ weights: "" }));

  try {
    ({ active, profiles } = await call(url("profiles")));
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    $("sliders").replaceChildren(el("p", { class: "hint" }, `No profiles now: ${error.message}`));
    return;
  }
  $("profile").replaceChildren(...Object.keys(profiles).map((name) =>
    el("option", { value: name }, name === active ? `${name} (live)` : name)));
}

/** The profile that the feed is shown with; {} while none is known. */
export const profile = () => profiles[state.profile || active] ?? {};

export function show() {
  for (const id of SELECTS) $(id).value = state[id];
  for (const id of SWITCHES) $(id).checked = Boolean(state[id]);
  $("profile").value = state.profile || active;
  $("reset").disabled = !state.weights;
  drawSliders();
  const changed = ["profile", "variant", "sort", "weights", ...SWITCHES].filter((key) => state[key]);
  $("tune-hint").textContent =
    state.tab !== "feed" ? "only in “For you”" : changed.length ? `${changed.length} changed` : "";
}

function drawSliders() {
  const { scorer_weights: own = {}, names } = profile();
  const name = state.profile || active;
  if (name && drawn !== name) {
    drawn = name;
    $("sliders").replaceChildren(...Object.entries(own).map(([scorer, weight]) => {
      const id = `weight-${scorer}`;
      return el("div", { class: "slider" },
        el("label", { for: id }, component(scorer, names)),
        el("output", { for: id }),
        el("input", {
          id,
          type: "range",
          min: 0,
          max: Math.max(100, weight),
          step: 1,
          "data-scorer": scorer,
          oninput: () => { label(); send(); },
        }));
    }));
  }
  const chosen = parse(state.weights);
  for (const slider of sliders()) {
    slider.value = chosen[slider.dataset.scorer] ?? own[slider.dataset.scorer];
  }
  label();
}

const sliders = () => [...$("sliders").querySelectorAll("input")];

const parse = (weights) =>
  Object.fromEntries(weights.split(",").filter(Boolean).map((pair) => pair.split(":")));

/** Says what share of all weight each slider has. */
function label() {
  const total = sliders().reduce((sum, slider) => sum + Number(slider.value), 0);
  for (const slider of sliders()) {
    const share = `${total ? Math.round((100 * slider.value) / total) : 0} %`;
    slider.setAttribute("aria-valuetext", share);
    slider.parentElement.querySelector("output").textContent = share;
    slider.style.setProperty("--at", `${(100 * slider.value) / slider.max}%`);
  }
}

const send = debounce(() => {
  const weights = sliders().map((slider) => `${slider.dataset.scorer}:${slider.value}`).join(",");
  change({ weights }, { replace: true });
}, 200);
