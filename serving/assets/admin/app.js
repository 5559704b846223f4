// The start of the page: asks for all of it, shows it, and does so again every ten seconds.

import { $, el } from "../demo/dom.js";
import * as actions from "./actions.js";
import { call, key, Problem } from "./api.js";
import * as charts from "./charts.js";
import * as dialog from "./dialog.js";
import { experiments } from "./experiments.js";
import { alerts, audit, flags, freshness, versions } from "./lists.js";
import { live, notices, tiles, training } from "./live.js";
import { morph } from "./morph.js";
import { time, variants } from "./variants.js";

const EVERY = 10_000; // milliseconds

const CALLS = {
  status: () => "status",
  metrics: () => `metrics?days=${$("days").value}`,
  models: () => "models",
  experiments: () => "experiments",
  flags: () => "flags",
  alerts: () => "alerts?limit=15",
  audit: () => "audit?limit=30",
};

/** Each part of the page: the call that it needs, and what it makes of the answers. */
const PARTS = {
  notices: ["status", notices],
  live: ["status", live],
  tiles: ["status", tiles],
  training: ["status", training],
  freshness: ["status", freshness],
  variants: ["metrics", variants],
  time: ["metrics", time],
  experiments: ["experiments", experiments],
  flags: ["flags", flags],
  versions: ["models", versions],
  alerts: ["alerts", alerts],
  audit: ["audit", audit],
};

let known = {};
let problems = {};
let changes = 0; // an answer to what was asked before a change is not shown
let changing = 0; // nor one while a change is on its way: it would undo what was clicked
let timer;
let told = null; // {text, bad}: what came of the last thing done

async function load() {
  clearTimeout(timer);
  const asked = changes;
  const used = key.get();
  const names = Object.keys(CALLS);
  const answers = [];
  // The first one alone: if it is refused, so are all.
  if (!known.status) answers.push(...await Promise.allSettled([call(CALLS.status())]));
  if (!answers[0]?.reason?.locked) {
    const others = names.slice(answers.length).map((name) => call(CALLS[name]()));
    answers.push(...await Promise.allSettled(others));
  }
  if (changing || asked !== changes || used !== key.get()) return; // another load will come
  const refused = answers.find(({ reason }) => reason instanceof Problem && reason.locked);
  if (refused) return lock(refused.reason);
  names.forEach((name, at) => {
    const { value, reason } = answers[at];
    problems[name] = reason;
    if (value) known = { ...known, [name]: value };
  });
  timer = setTimeout(next, EVERY); // before it is shown: that may fail, and works the next time
  show();
}

/** A page that nobody sees asks for nothing. */
const next = () => (document.hidden ? undefined : load());

function show() {
  $("lock").hidden = true;
  $("board").hidden = false;
  for (const [id, [name, draw]] of Object.entries(PARTS)) {
    const problem = problems[name];
    const nodes = known[name] ? draw(known) : [];
    const said = problem && id !== "notices"
      ? el("p", { class: "notice bad", "data-key": "problem" }, problem.message) : null;
    morph($(id), [said, ...nodes]);
  }
  morph($("notices"), [
    told && el("p", { class: `notice ${told.bad ? "bad" : "good"}`, "data-key": "told" }, told.text),
    ...(known.status ? notices(known) : []),
  ]);
  const { environment, addresses } = known.status ?? {};
  $("environment").textContent = environment ?? "";
  $("environment").hidden = !environment || environment === "default";
  for (const name of ["mlflow", "dagster"]) {
    $(`to-${name}`).hidden = !addresses;
    if (addresses) $(`to-${name}`).href = addresses[name];
  }
  $("updated").textContent = `As of ${new Date().toLocaleTimeString("en-GB")}, anew every ${EVERY / 1000} s.`;
  $("forget").hidden = !key.get();
}

function lock(problem) {
  key.forget();
  known = {};
  $("board").hidden = true;
  $("lock").hidden = false;
  $("forget").hidden = true;
  $("lock-why").textContent = problem?.message ?? "";
  $("key").value = "";
  $("key").focus();
}

function changed(text, bad = false) {
  told = { text, bad };
  changes += 1;
  load();
  // What is done in the background shows up a moment later.
  setTimeout(() => load(), 1_500);
}

$("lock-form").addEventListener("submit", (event) => {
  event.preventDefault();
  key.set($("key").value.trim());
  load();
});
$("forget").addEventListener("click", () => lock());
$("days").addEventListener("change", () => {
  changes += 1;
  load();
});
document.addEventListener("visibilitychange", () => {
  if ($("lock").hidden) next(); // else somebody may be typing their key
});
dialog.start();
charts.follow($("time"));
actions.start($("board"), {
  begun: () => { changing += 1; },
  ended: () => { changing -= 1; },
  did: changed,
  failed: (error) => changed(error.message, true),
});
load();
