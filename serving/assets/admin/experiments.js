// Experiments: arms and how they differ from the control, the share, and what holds it.

import { el } from "../demo/dom.js";
import { scaleOf, whisker } from "./charts.js";
import { ago, count, metric, part, rankedBy, rate, signed } from "./words.js";
import { toneOf } from "./variants.js";

const MAY = { draft: ["start"], running: ["pause", "end"], paused: ["resume", "end"], ended: [] };
const ORDER = ["running", "paused", "draft", "ended"];
const SUSPICIOUS = 0.001;

export function experiments({ experiments: known, metrics }) {
  const shown = [...known.experiments]
    .sort((one, other) => ORDER.indexOf(one.status) - ORDER.indexOf(other.status));
  if (!shown.length) {
    return [el("p", { class: "empty" }, "No experiments. ",
      el("code", {}, "feedwright experiments --help"), " tells how to make one.")];
  }
  const found = new Map((metrics?.by_experiment ?? []).map((one) => [one.experiment, one]));
  return shown.map((one) => experiment(one, found.get(one.id)));
}

function experiment(one, found) {
  return el("article", { class: `experiment ${one.status}`, "data-key": one.id },
    el("header", {},
      el("h3", {}, one.id),
      el("span", { class: `chip ${one.status}` }, one.status),
      el("span", { class: "buttons" }, ...MAY[one.status].map((act) => el("button", {
        type: "button", class: "quiet", "data-act": act, "data-experiment": one.id,
        "aria-label": `${act} ${one.id}`,
      }, act)))),
    one.description ? el("p", {}, one.description) : null,
    el("p", { class: "hint" }, [
      `${part(one.share)} of the users of layer ${one.layer}`
        + (one.layer_to - one.layer_from < 1 ? ` from ${part(one.layer_from)} to ${part(one.layer_to)}` : ""),
      one.environment && `in ${one.environment}`,
      one.started_at && `began ${ago(one.started_at)}`,
      one.ended_at && `ended ${ago(one.ended_at)}`,
    ].filter(Boolean).join(" · ")),
    ramp(one),
    one.held_because ? el("p", { class: "notice warm" }, `Held: ${one.held_because}`) : null,
    one.winner ? el("p", { class: "notice good" }, `Winner: ${one.winner}`) : null,
    found ? results(one, found) : el("p", { class: "hint" }, one.arms.map((arm) =>
      `${arm.name} (${rankedBy(arm.ranked_by)})`).join(" against ")),
    found ? ratio(found.sample_ratio) : null);
}

/** The steps of the share, as far as they have come. */
function ramp({ ramp: steps, share, status }) {
  if (!steps?.length) return null;
  return el("ol", { class: "ramp", "aria-label": "Ramp" }, ...steps.map((step) => el("li", {
    class: status !== "draft" && step.share <= share ? "reached" : "",
    "aria-current": status !== "draft" && step.share === share ? "step" : null,
  }, part(step.share))));
}

function results(one, found) {
  const name = one.primary_metric;
  const differences = found.arms.map((arm) => arm.differences?.[name] ?? {})
    .map(({ relative, low, high }) => ({ value: relative, low, high }));
  const scale = scaleOf(differences, { around: 0 });
  return el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": `Arms of ${one.id}` },
    el("table", {},
      el("thead", {}, el("tr", {}, ...["Arm", "Users", "Impressions", metric(name), "Difference to control"]
        .map((text) => el("th", { scope: "col" }, text)))),
      el("tbody", {}, ...found.arms.map((arm, at) => row(arm, name, differences[at], scale)))));
}

function row(arm, name, difference, scale) {
  const told = arm.metrics[name];
  const { value, low, high } = difference;
  return el("tr", { "data-key": arm.arm },
    el("th", { scope: "row" }, arm.arm, " ",
      el("span", { class: "hint" }, rankedBy(arm.ranked_by))),
    el("td", {}, count(arm.users)),
    el("td", {}, count(arm.impressions)),
    el("td", {}, ...(told.enough
      ? [el("b", {}, rate(name, told.value)), " ", el("span", { class: "hint" }, `${rate(name, told.low)} to ${rate(name, told.high)}`)]
      : [el("span", { class: "hint" }, told.note)])),
    el("td", { class: "difference" }, ...(arm.control
      ? [el("span", { class: "hint" }, "the control")]
      : value == null
        ? [el("span", { class: "hint" }, "not enough data")]
        : [
            whisker({ ...difference, tone: high < 0 ? "worse" : low > 0 ? "better" : toneOf(arm.ranked_by) }, scale,
              { zero: 0, label: `${signed(value)}, from ${signed(low)} to ${signed(high)}` }),
            el("span", {}, el("b", {}, signed(value)), " ", el("span", { class: "hint" }, `${signed(low)} to ${signed(high)}`)),
          ])));
}

function ratio({ p_value: p, users }) {
  if (p == null || !users.some(Boolean)) return null;
  return p < SUSPICIOUS
    ? el("p", { class: "notice bad" },
      `The arms have ${users.map((number) => count(number)).join(" and ")} users, which chance does not explain `
      + `(p = ${p.toExponential(1)}): do not trust the differences.`)
    : el("p", { class: "hint" }, `Users are split as they should be (p = ${p.toFixed(2)}).`);
}
