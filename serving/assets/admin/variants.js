// How each variant does: every metric with its interval, and what was served over time.

import { el } from "../demo/dom.js";
import { lines, scaleOf, whisker } from "./charts.js";
import { ago, count, metric, METRICS, milliseconds, percent, rankedBy, rate, short } from "./words.js";

const TONES = { champion: "one", challenger: "two", heuristic: "three", time: "four" };
export const toneOf = (variant) => TONES[variant] ?? "four";

export function variants({ metrics, status }) {
  const rows = [...metrics.by_variant].sort((one, other) => other.impressions - one.impressions);
  if (!rows.length) {
    return [el("p", { class: "empty" }, "Nothing was shown in this time, so there is not enough data.")];
  }
  const names = Object.keys(METRICS).filter((name) => of(rows[0], name));
  const until = metrics.window.counted_until;
  return [
    el("div", { class: "metrics" }, ...names.map((name) => chartOf(name, rows, status?.live))),
    el("p", { class: "hint" },
      "Dots are rates, whiskers their 95 % intervals. What has not enough data has no dot. ",
      until ? `Counted ${ago(until)}.` : "Not counted yet."),
  ];
}

function chartOf(name, rows, live) {
  const given = rows.map((row) => of(row, name));
  const scale = scaleOf(given.filter((one) => one.enough));
  return el("div", { class: "metric", "data-key": name },
    el("h3", {}, metric(name)),
    el("ul", {}, ...rows.map((row, at) => {
      const { value, low, high, enough, note } = given[at];
      const [top, bottom] = METRICS[name].parts;
      const label = `${rankedBy(row.variant)}${row.model_version ? ` ${row.model_version}` : ""}`;
      const isLive = row.variant === "champion" && row.model_version === live?.version;
      const said = enough ? rate(name, value) : "not enough data";
      return el("li", { "data-key": `${row.variant} ${row.model_version}`, class: "rate" },
        el("span", { class: `who ${toneOf(row.variant)}` }, label,
          isLive ? el("span", { class: "chip" }, "live") : null),
        whisker(enough ? { value, low, high, tone: toneOf(row.variant) } : { tone: "faint" }, scale,
          { label: `${label}: ${said}` }),
        el("b", { class: enough ? "" : "hint" }, enough ? said : "–"),
        el("span", { class: "hint" }, enough
          ? `${short(given[at].numerator)} ${top} of ${short(given[at].denominator)} ${bottom}`
            + (given[at].users ? `, ${count(given[at].users, "user")}` : "")
          : note));
    })),
    given.some((one) => one.enough) ? el("p", { class: "ends", "aria-hidden": "true" },
      el("span", {}, rate(name, scale.low)), el("span", {}, rate(name, scale.high))) : null);
}

/** A metric of a variant; how many of the items it has shown is counted apart. */
function of(row, name) {
  if (name !== "coverage") return row.metrics[name];
  const { shown, eligible, share, note } = row.coverage;
  return { numerator: shown, denominator: eligible, value: share, enough: share != null, note };
}

export function time({ metrics }) {
  const served = metrics.served_series.map((one) => ({ ...one, at: Date.parse(one.start) }));
  const of = (name, tone, read) =>
    ({ name, tone, points: served.map((one) => [one.at, read(one)]) });
  return [el("div", { class: "charts" },
    lines("requests", "Feeds", [of("feeds", "one", (one) => one.requests)], { format: short }),
    lines("fallback", "Fallback share", [of("fallback", "two", (one) => one.fallback_share)], {
      format: percent,
    }),
    lines("latency", "Latency", [
      of("p99", "two", (one) => one.p99_ms), of("p50", "one", (one) => one.p50_ms),
    ], { format: milliseconds }),
    lines("ctr", "Clicks per impression", clicks(metrics.series), { format: percent }))];
}

/** A line for each variant; where few were shown, there is a gap. */
function clicks(series) {
  const names = [...new Set(series.map((one) => one.variant))];
  const times = [...new Set(series.map((one) => Date.parse(one.start)))].sort((a, b) => a - b);
  return names.map((name) => {
    const known = new Map(series.filter((one) => one.variant === name)
      .map((one) => [Date.parse(one.start), one.impressions >= 20 ? one.clicks / one.impressions : null]));
    return {
      name: rankedBy(name),
      tone: toneOf(name),
      points: times.map((at) => [at, known.get(at) ?? null]),
    };
  });
}
