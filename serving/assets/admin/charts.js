// Charts in SVG. Places across are percentages, so they fit any width without being drawn anew.

import { el, svg } from "../demo/dom.js";
import { date, hour } from "./words.js";

const HEIGHT = 170;
const TOP = 14;
const BOTTOM = 22;

/** A dot with its interval on the scale [low, high]; `zero`: where a line stands. */
export function whisker({ value, low, high, tone = "" }, scale, { zero = null, label = "" } = {}) {
  const x = (number) =>
    `${(2 + 96 * Math.min(Math.max((number - scale.low) / (scale.high - scale.low || 1), 0), 1)).toFixed(2)}%`;
  const known = value != null;
  const ends = known && low != null && high != null;
  return svg("svg", { class: `whisker ${tone}`, height: 28, role: "img", "aria-label": label },
    svg("line", { class: "track", x1: "2%", x2: "98%", y1: 14, y2: 14 }),
    zero == null ? null : svg("line", { class: "zero", x1: x(zero), x2: x(zero), y1: 0, y2: 28 }),
    ends ? svg("line", { class: "interval", x1: x(low), x2: x(high), y1: 14, y2: 14 }) : null,
    ...(ends ? [low, high].map((end) =>
      svg("line", { class: "interval", x1: x(end), x2: x(end), y1: 8, y2: 20 })) : []),
    known ? svg("circle", { class: ends ? "dot" : "dot weak", cx: x(value), cy: 14, r: 5 }) : null);
}

/** A scale that holds every interval, with some room. */
export function scaleOf(rows, { around = null } = {}) {
  const ends = rows.flatMap((row) => [row.low, row.high, row.value]).filter(Number.isFinite);
  if (around != null) {
    const most = Math.max(...ends.map((end) => Math.abs(end - around)), 0.01) * 1.1;
    return { low: around - most, high: around + most };
  }
  if (!ends.length) return { low: 0, high: 1 };
  const [low, high] = [Math.min(...ends), Math.max(...ends)];
  const room = Math.max((high - low) * 0.08, high * 0.02, 1e-6);
  return { low: Math.max(low - room, 0), high: high + room };
}

/**
 * A chart of lines over time, with a legend that says the values under the pointer.
 *
 * `series`: [{name, tone, points: [[milliseconds, value or null]]}], all on the same times.
 */
export function lines(id, title, series, { format, most = null }) {
  const times = [...new Set(series.flatMap(({ points }) => points.map(([time]) => time)))]
    .sort((one, other) => one - other);
  const values = series.flatMap(({ points }) => points.map(([, value]) => value)).filter(Number.isFinite);
  const caption = el("figcaption", {}, el("h3", {}, title));
  if (times.length < 2 || !values.length) {
    return el("figure", { class: "chart", "data-key": id }, caption,
      el("p", { class: "empty small" }, "Not enough data yet."));
  }
  const ceiling = most ?? nice(Math.max(...values));
  const [start, end] = [times[0], times.at(-1)];
  const share = (time) => (time - start) / (end - start);
  const plot = HEIGHT - TOP - BOTTOM;
  const path = ({ points }) => {
    let pen = "M";
    return points.map(([time, value]) => {
      if (!Number.isFinite(value)) {
        pen = "M";
        return "";
      }
      const step = `${pen}${(1000 * share(time)).toFixed(1)} ${(100 - 100 * Math.min(value / ceiling, 1)).toFixed(2)}`;
      pen = "L";
      return step;
    }).join("");
  };
  const latest = series.map(({ name, points }) => `${name} ${format(last(points))}`).join(", ");
  keep(id, { times, series, format, share });
  return el("figure", { class: "chart", "data-key": id, "data-chart": id },
    caption,
    legend(series, format),
    svg("svg", { height: HEIGHT, role: "img", "aria-label": `${title}, now: ${latest}` },
      ...[0, 0.5, 1].flatMap((level) => {
        const y = TOP + plot * (1 - level);
        return [
          svg("line", { class: "grid", x1: 0, x2: "100%", y1: y, y2: y }),
          svg("text", { class: "tick", x: 0, y: y - 4 }, format(ceiling * level)),
        ];
      }),
      svg("svg", { y: TOP, height: plot, width: "100%", viewBox: "0 0 1000 100", preserveAspectRatio: "none", overflow: "visible" },
        ...series.map((one) => svg("path", { class: `line ${one.tone}`, d: path(one) }))),
      ...ticks(times).map(([time, text], index, all) => svg("text", {
        class: "tick",
        x: `${(100 * share(time)).toFixed(1)}%`,
        y: HEIGHT - 4,
        "text-anchor": index === 0 ? "start" : index === all.length - 1 ? "end" : "middle",
      }, text)),
      svg("line", { class: "pointer", visibility: "hidden", x1: 0, x2: 0, y1: TOP, y2: HEIGHT - BOTTOM })));
}

function legend(series, format, time = null) {
  return el("p", { class: "legend" },
    ...series.map(({ name, tone, points }) => el("span", { class: `key ${tone}` },
      name, " ", el("b", {}, format(time == null ? last(points) : valueAt(points, time))))),
    el("span", { class: "when" }, time == null ? "now" : `${date(time)}, ${hour(time)}`));
}

const last = (points) => points.findLast(([, value]) => Number.isFinite(value))?.[1] ?? null;
const valueAt = (points, time) => points.find(([one]) => one === time)?.[1] ?? null;

function nice(most) {
  if (most <= 0) return 1;
  const unit = 10 ** Math.floor(Math.log10(most));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10, 15].map((step) => step * unit).find((step) => step >= most * 1.02);
}

/** Up to five moments with their texts. */
function ticks(times) {
  const [start, end] = [times[0], times.at(-1)];
  const many = matchMedia("(min-width: 30rem)").matches ? 5 : 3;
  const text = end - start > 2.5 * 86_400_000 ? date : hour;
  return Array.from({ length: many }, (_, index) => start + ((end - start) * index) / (many - 1))
    .map((time) => [time, text(time)]);
}

const drawn = new Map();
const keep = (id, chart) => drawn.set(id, chart);

/** Below `root`, the legend of a chart follows the pointer. */
export function follow(root) {
  const show = (figure, fraction) => {
    const chart = drawn.get(figure.dataset.chart);
    const time = fraction == null ? null : chart.times.reduce((best, one) =>
      Math.abs(chart.share(one) - fraction) < Math.abs(chart.share(best) - fraction) ? one : best);
    const x = `${100 * chart.share(time ?? chart.times[0])}%`;
    const line = figure.querySelector(".pointer");
    line.setAttribute("visibility", time == null ? "hidden" : "visible");
    line.setAttribute("x1", x);
    line.setAttribute("x2", x);
    figure.querySelector(".legend").replaceWith(legend(chart.series, chart.format, time));
  };
  root.addEventListener("pointermove", ({ target, clientX }) => {
    const figure = target.closest?.("[data-chart]");
    const plot = target.closest?.("[data-chart] > svg");
    if (!figure || !plot) return;
    const box = plot.getBoundingClientRect();
    show(figure, (clientX - box.left) / box.width);
  });
  root.addEventListener("pointerout", ({ target, relatedTarget }) => {
    const plot = target.closest?.("[data-chart] > svg");
    if (plot && !plot.contains(relatedTarget)) show(plot.parentElement, null);
  });
}
