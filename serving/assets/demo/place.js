// Where the viewer is: by the map or by numbers; both change the state.

import { $, debounce } from "./dom.js";
import * as map from "./map.js";
import { change, state } from "./state.js";
import { placeOnFile } from "./viewer.js";

/** The place chosen here, else the place on file, else null. */
export function here() {
  if (state.lat && state.lon) {
    return { lat: Number(state.lat), lon: Number(state.lon), chosen: true };
  }
  return placeOnFile();
}

export function start() {
  map.start(debounce((lat, lon) => change({ lat, lon }, { replace: true }), 150));
  $("place").addEventListener("submit", (event) => {
    event.preventDefault();
    const { lat, lon } = event.target.elements;
    for (const field of [lat, lon]) {
      field.setCustomValidity(field.value ? "" : "Give both, in degrees.");
      if (!field.reportValidity()) return;
    }
    change({ lat: lat.value, lon: lon.value });
  });
  $("place").addEventListener("input", (event) => event.target.setCustomValidity(""));
  $("clear-place").addEventListener("click", () => change({ lat: "", lon: "" }));
  $("world").addEventListener("change", () => map.showWorld($("world").checked));
}

export function show() {
  const place = here();
  map.showViewer(place);
  const { lat, lon } = $("place").elements;
  lat.value = place?.lat ?? "";
  lon.value = place?.lon ?? "";
  $("clear-place").disabled = !place?.chosen;
  $("place-hint").textContent = !place ? "not known" : place.chosen ? "chosen" : "on file";
}
