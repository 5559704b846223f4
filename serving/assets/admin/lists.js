// Tables and lists: freshness, flags, versions, alerts, the audit log.

import { el } from "../demo/dom.js";
import { ago, at, capital, offline, plain, recommender, span } from "./words.js";

const OLD = 26 * 3600; // seconds: the daily job has not been there

const scroll = (name, ...children) =>
  el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": name }, ...children);
const head = (...names) => el("thead", {}, el("tr", {}, ...names.map((name) =>
  el("th", { scope: "col" }, ...(name ? [name] : [el("span", { class: "hidden" }, "Do")])))));
const none = (text) => [el("p", { class: "empty small" }, text)];

const GROUPS = ["sources", "features", "model", "feed"]; // as the data flows
const place = ({ group }) => GROUPS.indexOf(group) + 1 || GROUPS.length + 1;

export function freshness({ status }) {
  if (!status.dagster_up) return none("Dagster is away, so nobody can say.");
  if (!status.freshness.length) return none("Dagster has not loaded the pipeline.");
  const groups = Map.groupBy(
    [...status.freshness].sort((one, other) => place(one) - place(other)), (one) => one.group);
  return [el("div", { class: "assets" }, ...[...groups].map(([group, assets]) =>
    el("div", { "data-key": group },
      el("h3", {}, capital(plain(group))),
      el("ul", {}, ...assets.map((one) => el("li", {
        "data-key": one.asset,
        class: one.age_seconds == null ? "never" : one.age_seconds > OLD ? "old" : "new",
      },
      el("span", {}, plain(one.asset)),
      el("time", { datetime: one.materialized_at, title: one.materialized_at && at(one.materialized_at) },
        span(one.age_seconds)))))))) ];
}

export function flags({ flags: known, status }) {
  if (!known.flags.length) return none("No flags.");
  return [el("ul", { class: "flags" }, ...known.flags.map((flag) => {
    const id = `flag-${flag.name}-${flag.environment}`;
    const all = flag.environment === "default";
    return el("li", { "data-key": id },
      el("label", { class: "toggle" },
        el("input", {
          type: "checkbox", role: "switch", id, checked: flag.enabled,
          "data-act": "flag", "data-name": flag.name, "data-environment": flag.environment,
        }),
        el("span", {}, flag.name)),
      el("span", { class: "hint" }, all ? "everywhere" : flag.environment === status?.environment
        ? `here, ${flag.environment}` : flag.environment),
      el("label", { class: "share" }, "for",
        el("input", {
          type: "number", min: 0, max: 100, step: "any", inputmode: "decimal",
          value: +(100 * flag.share).toFixed(4), disabled: !flag.enabled,
          "aria-label": `Share of users of ${flag.name}, ${flag.environment}, in percent`,
          "data-act": "flag", "data-name": flag.name, "data-environment": flag.environment,
        }), "% of users"));
  }))];
}

export function versions({ models }) {
  if (!models.versions.length) return none("No version was trained yet.");
  const names = ["ndcg_at_10", "recall_at_10", "coverage"]
    .filter((name) => models.versions.some((one) => name in one.metrics));
  return [scroll("Versions", el("table", {},
    head("Version", "Model", "Trained", ...names.map(offline), "State", ""),
    el("tbody", {}, ...models.versions.slice(0, 20).map((one) => version(one, names, models)))))];
}

function version(one, names, models) {
  const live = one.version === models.champion;
  const state = [
    live && el("span", { class: "chip live" }, "live"),
    one.version === models.challenger && el("span", { class: "chip" }, "challenger"),
    one.version === models.previous && el("span", { class: "chip" }, "previous"),
    one.withdrawn && el("span", { class: "chip bad" }, "withdrawn"),
    !one.withdrawn && one.refused && el("span", { class: "chip warm" }, "refused"),
    !one.has_snapshot && el("span", { class: "chip warm" }, "no snapshot"),
  ].filter(Boolean);
  return el("tr", { "data-key": one.version },
    el("th", { scope: "row" }, one.version),
    el("td", {}, recommender(one.recommender)),
    el("td", {}, ago(one.trained_at)),
    ...names.map((name) => el("td", {}, one.metrics[name]?.toFixed(3) ?? "–")),
    el("td", { class: "state" }, ...state, one.withdrawn || one.refused
      ? el("span", { class: "hint" }, ` ${one.withdrawn || one.refused}`) : null),
    el("td", {}, live || !one.has_snapshot ? null : el("button", {
      type: "button", class: "quiet", "data-act": "activate", "data-version": one.version,
      "data-withdrawn": one.withdrawn ?? one.refused, "aria-label": `Activate version ${one.version}`,
    }, "Activate")));
}

export function alerts({ alerts: known }) {
  if (!known.alerts.length) return none("No alerts.");
  return [el("ol", { class: "log" }, ...known.alerts.map((one) => el("li", { "data-key": one.id },
    el("time", { datetime: one.raised_at, title: at(one.raised_at) }, ago(one.raised_at)),
    el("span", { class: `chip ${{ critical: "bad", warning: "warm" }[one.severity] ?? ""}` }, one.severity),
    el("b", { class: "title" }, one.title),
    el("span", { class: "hint" }, one.delivered_at ? "delivered"
      : one.given_up_at ? `not delivered: ${one.last_error}`
        : one.attempts ? `tried ${one.attempts} times: ${one.last_error}` : ""))))];
}

export function audit({ audit: known }) {
  if (!known.lines.length) return none("Nothing was done yet.");
  return [el("ol", { class: "log" }, ...known.lines.map((one) => el("li", { "data-key": one.id },
    el("time", { datetime: one.occurred_at, title: at(one.occurred_at) }, ago(one.occurred_at)),
    el("b", {}, one.action),
    el("span", {}, one.actor),
    el("span", { class: "hint" }, detailOf(one.detail)))))];
}

const detailOf = (detail) => Object.entries(detail)
  .filter(([name, value]) => value != null && value !== "" && name !== "request_id" && name !== "path")
  .map(([name, value]) => `${plain(name)} ${typeof value === "object" ? JSON.stringify(value) : value}`)
  .join(" · ");

