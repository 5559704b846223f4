// What is live, what was before, and how the last hour went.

import { el } from "../demo/dom.js";
import { ago, capital, milliseconds, offline, percent, plain, recommender, short, span } from "./words.js";

const FIRST = ["ndcg_at_10", "recall_at_10", "mrr", "hit_rate_at_10", "coverage"];
const FALLBACKS = {
  anonymous: "nobody signed in",
  unknown_user: "users nobody knows yet",
  no_model: "no model yet",
  snapshot_missing: "the model's files are gone",
  model_load_failed: "the model does not load",
  model_stale: "the model is too old",
  model_withdrawn: "the version was withdrawn",
  database_unavailable: "the database was away",
  personalization_off: "not wished by the user",
  switched_off: "switched off by a flag",
  model_error: "the model failed",
  time_budget_exceeded: "the model was too slow",
  challenger_unavailable: "no challenger there",
  no_catalogue: "nothing loaded yet",
  catalogue_damaged: "files of the catalogue are damaged",
};

/** What is away or waits, in words. */
export function notices({ status }) {
  if (!status) return [];
  const waiting = status.pending_rollback;
  return [
    ...status.problems.map((text) => el("p", { class: "notice bad", "data-key": text }, text)),
    waiting && el("p", { class: "notice warm", "data-key": "waiting" },
      `Version ${waiting.version} was withdrawn ${ago(waiting.withdrawn_at)} (${waiting.reason}) and is `
      + "served no more; its alias moves when MLflow answers."),
  ];
}

export function live({ status }) {
  const { live: now, previous, challenger } = status;
  return [el("div", { class: "standing" },
    now ? champion(now) : el("div", { class: "now" },
      el("p", { class: "number" }, "None"),
      el("p", { class: "hint" }, "No version is live: the heuristic answers.")),
    el("dl", { class: "others" },
      ...other("Before it", previous, "nothing to go back to"),
      ...other("Challenger", challenger, "none on trial")),
    el("div", { class: "buttons" },
      el("button", {
        type: "button",
        class: "danger",
        "data-act": "rollback",
        "data-expected": now?.version,
        "data-previous": previous?.version,
        disabled: !now || (!previous && status.registry_up),
      }, previous ? `Roll back to version ${previous.version}` : "Roll back"),
      challenger && el("button", {
        type: "button", "data-act": "activate", "data-version": challenger.version,
        "data-withdrawn": challenger.withdrawn ?? challenger.refused,
      }, `Activate version ${challenger.version}`)))];
}

function champion(version) {
  const metrics = Object.entries(version.metrics)
    .filter(([name]) => FIRST.includes(name))
    .sort(([one], [other]) => FIRST.indexOf(one) - FIRST.indexOf(other));
  return el("div", { class: "now" },
    el("p", { class: "number" }, el("small", {}, "version "), version.version),
    el("p", {}, [
      version.recommender && recommender(version.recommender),
      version.trained_at && `trained ${span(version.age_seconds)} ago`,
    ].filter(Boolean).join(" · ")),
    metrics.length ? el("dl", { class: "figures" }, ...metrics.flatMap(([name, value]) => [
      el("div", {}, el("dt", {}, offline(name)), el("dd", {}, value.toFixed(3))),
    ])) : null);
}

const other = (name, version, none) => [el("div", {},
  el("dt", {}, name),
  version
    ? el("dd", {}, el("b", {}, `version ${version.version}`), " ",
      el("span", { class: "hint" }, `${recommender(version.recommender)}, trained ${ago(version.trained_at)}`))
    : el("dd", { class: "hint" }, none))];

/** Four numbers of the last hour. */
export function tiles({ status }) {
  const { requests_1h: requests, fallback, latency } = status;
  const reasons = Object.entries(fallback?.by_reason ?? {}).slice(0, 3)
    .map(([reason, share]) => `${percent(share)} ${FALLBACKS[reason] ?? plain(reason)}`);
  return [
    tile("Feeds in the last hour", short(requests), requests === 0 ? "nobody asked" : ""),
    tile("Fallback share", percent(fallback?.share_1h), reasons.join(" · ")),
    tile("Half answered within", milliseconds(latency?.p50_ms), "p50"),
    tile("99 % answered within", milliseconds(latency?.p99_ms), "p99"),
  ];
}

const tile = (name, value, note) => el("div", { class: "box tile", "data-key": name },
  el("h3", {}, name), el("p", { class: "number" }, value), el("p", { class: "hint" }, note || "\u00a0"));

export function training({ status }) {
  const { training: known, dagster_up: up } = status;
  if (!up) return [el("p", { class: "hint" }, "Dagster is away.")];
  const link = (text, address) => el("a", { href: address, rel: "noreferrer" }, text);
  return [
    el("p", { class: "hint" }, ...(known.running
      ? [link("A training runs", known.address), known.started_at ? `, since ${span((Date.now() - new Date(known.started_at)) / 1000)}` : ""]
      : known.last_status
        ? ["Last training: ", link(capital(known.last_status.toLowerCase()), known.last_address), `, ${ago(known.last_ended)}`]
        : ["No training yet"])),
    el("button", { type: "button", "data-act": "train", disabled: known.running }, "Train now"),
  ];
}
