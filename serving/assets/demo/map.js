// A small map (Mercator): land, the items of the page as dots, the viewer as a pin.

import { $, svg } from "./dom.js";
import { LAND } from "./land.js";
import { kilometres, place } from "./words.js";

const ASPECT = 9 / 5;
const WORLD = { x: -180, y: -130, width: 360 }; // from 78° N to 57° S
const MIN_WIDTH = 3; // degrees: the outline is too coarse for less
const KM_PER_DEGREE = 111.32;
const LATITUDES = 85;

const mercator = (lat) =>
  -(180 / Math.PI) * Math.log(Math.tan(Math.PI / 4 + (lat * Math.PI) / 360));
const latitude = (y) => (360 / Math.PI) * Math.atan(Math.exp((-y * Math.PI) / 180)) - 90;
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const y = (lat) => mercator(clamp(lat, -LATITUDES, LATITUDES));
const wrap = (lon) => ((((lon + 180) % 360) + 360) % 360) - 180;

const box = $("map");
let view = WORLD;
let points = []; // [{id, lat, lon, title}]
let viewer = null; // {lat, lon, chosen}
let world = false;
let moved = () => {};
let keepView = false; // the user has just clicked into it: do not jump

const graticule = svg("path", { class: "graticule" });
const dots = svg("g", { class: "dots" });
const pin = svg("g", { class: "pin" });
const scale = svg("g", { class: "scale" });
const drawing = svg("svg", { "aria-hidden": "true" },
  svg("path", { id: "land", class: "land", d: outline() }),
  // The world goes on to either side, for what lies about the 180th meridian.
  svg("use", { href: "#land", x: -360, class: "land" }),
  svg("use", { href: "#land", x: 360, class: "land" }),
  graticule, dots, pin, scale);

export function start(onMove) {
  moved = onMove;
  box.append(drawing);
  box.addEventListener("click", (event) => {
    const area = drawing.getBoundingClientRect();
    const x = view.x + (view.width * (event.clientX - area.left)) / area.width;
    const down = view.y + (height() * (event.clientY - area.top)) / area.height;
    set(latitude(down), x);
  });
  box.addEventListener("keydown", (event) => {
    const steps = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };
    const step = steps[event.key];
    if (!step) return;
    event.preventDefault();
    const length = view.width / (event.shiftKey ? 8 : 40);
    const from = viewer ?? { lat: latitude(view.y + height() / 2), lon: view.x + view.width / 2 };
    set(latitude(mercator(from.lat) + step[1] * length), from.lon + step[0] * length);
  });
  draw();
}

export function showViewer(place) {
  viewer = place;
  fit();
}

export function showItems(places) {
  points = places;
  fit();
  keepView = false;
}

export function showWorld(on) {
  world = on;
  fit();
}

/** Marks the dot of one item, or none. */
export function point(id) {
  for (const dot of dots.children) dot.classList.toggle("pointed", dot.dataset.id === id);
}

function set(lat, lon) {
  keepView = true;
  const here = { lat: clamp(lat, -LATITUDES, LATITUDES), lon: wrap(lon), chosen: true };
  showViewer(here);
  moved(here.lat.toFixed(3), here.lon.toFixed(3));
}

const height = () => view.width / ASPECT;

/** The longitude, give or take a full turn, that is nearest to the middle of the view. */
const abreast = (lon) => lon + 360 * Math.round((view.x + view.width / 2 - lon) / 360);

function fit() {
  const all = viewer ? [...points, viewer] : points;
  if (world || !all.length) view = WORLD;
  else if (!(keepView && (!viewer || inside(viewer)))) view = around(all);
  draw();
}

function inside({ lat, lon }) {
  const x = abreast(lon) - view.x;
  const down = y(lat) - view.y;
  return x > 0 && x < view.width && down > 0 && down < height();
}

const ends = (numbers) => [Math.min(...numbers), Math.max(...numbers)];

/** A view of all places, across the 180th meridian where that is shorter. */
function around(all) {
  let [left, right] = ends(all.map(({ lon }) => lon));
  if (right - left > 180) [left, right] = ends(all.map(({ lon }) => (lon + 360) % 360));
  const [top, bottom] = ends(all.map(({ lat }) => y(lat)));
  // Room around, more of it above and below, where a pin reaches up.
  const width = Math.max((right - left) * 1.25, (bottom - top) * ASPECT * 1.6, MIN_WIDTH);
  if (width > 300) return WORLD;
  return { x: (left + right - width) / 2, y: (top + bottom - width / ASPECT) / 2, width };
}

function draw() {
  const pixel = view.width / (box.clientWidth || 300);
  drawing.setAttribute("viewBox", `${view.x} ${view.y} ${view.width} ${height()}`);
  graticule.setAttribute("d", lines());
  dots.replaceChildren(...points.map(({ id, lat, lon, title }) =>
    svg("circle", { cx: abreast(lon), cy: y(lat), r: 4 * pixel, "data-id": id },
      svg("title", {}, title))));
  pin.replaceChildren();
  if (viewer) {
    pin.setAttribute("transform",
      `translate(${abreast(viewer.lon)} ${y(viewer.lat)}) scale(${pixel})`);
    pin.append(
      svg("path", { d: "M0 0C-9 -11 -9 -13 -9 -16a9 9 0 0 1 18 0C9 -13 9 -11 0 0Z" }),
      svg("circle", { cy: -16, r: 3.5 }));
  }
  drawScale(pixel);
  box.setAttribute("aria-label",
    `Map of ${points.length} items; ` +
    (viewer ? `the viewer is at ${place(viewer.lat, viewer.lon)}` : "the viewer's place is not set"));
}

/** Meridians and parallels, about five across. */
function lines() {
  const step = [30, 10, 5, 2, 1, 0.5, 0.2].find((size) => view.width / size >= 5) ?? 0.2;
  const [right, bottom] = [view.x + view.width, view.y + height()];
  let path = "";
  for (let lon = Math.ceil(view.x / step) * step; lon < right; lon += step) {
    path += `M${lon} ${view.y}V${bottom}`;
  }
  for (let lat = Math.ceil(latitude(bottom) / step) * step; lat < latitude(view.y); lat += step) {
    path += `M${view.x} ${mercator(lat)}H${right}`;
  }
  return path;
}

function drawScale(pixel) {
  scale.replaceChildren();
  if (view === WORLD) return; // a Mercator world has no one scale
  const kmPerUnit = KM_PER_DEGREE * Math.cos((latitude(view.y + height() / 2) * Math.PI) / 180);
  const longest = (view.width / 3) * kmPerUnit;
  const power = 10 ** Math.floor(Math.log10(longest));
  const km = [5, 2, 1].map((digit) => digit * power).find((length) => length <= longest);
  scale.setAttribute("transform",
    `translate(${view.x + 10 * pixel} ${view.y + height() - 10 * pixel}) scale(${pixel})`);
  scale.append(
    svg("path", { d: `M0 -4V0H${km / kmPerUnit / pixel}V-4` }),
    svg("text", { x: 4, y: -5 }, kilometres(km)));
}

function outline() {
  let path = "";
  for (const ring of LAND.trim().split("\n")) {
    const steps = ring.match(/-?\d+/g).map(Number);
    let lon = 0;
    let lat = 0;
    for (let i = 0; i < steps.length; i += 2) {
      lon += steps[i];
      lat += steps[i + 1];
      path += `${i ? "L" : "M"}${lon / 10} ${mercator(lat / 10).toFixed(2)}`;
    }
    path += "Z";
  }
  return path;
}
