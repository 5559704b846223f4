// Who is looking: what is on file for them, in words.

import { call, url } from "./api.js";
import { $, el } from "./dom.js";
import { state } from "./state.js";
import { count, kilometres } from "./words.js";

let known = { id: null }; // {id, user, preferences, problem}

/** Loads the user of the state, unless they are there already. */
export async function load(signal) {
  const id = state.user;
  if (known.id === id) return;
  const [user, preferences] = id
    ? await Promise.allSettled([
        call(url(`users/${encodeURIComponent(id)}`), { signal }),
        call(url("feed/preferences", { user_id: id }), { signal }),
      ])
    : [{}, {}];
  if (signal.aborted) throw user.reason ?? preferences.reason ?? signal.reason;
  known = { id, user: user.value, preferences: preferences.value, problem: user.reason };
  $("about").replaceChildren(...about().filter(Boolean));
}

/** The place on file, or null. */
export function placeOnFile() {
  const { lat, lon } = known.user ?? {};
  return lat == null || lon == null ? null : { lat, lon };
}

function about() {
  if (!known.id) return [hint("Anonymous: nothing is known of them.")];
  if (!known.user) {
    const { status, message } = known.problem;
    return [hint(status === 404 ? "Nothing is on file for this user." : message)];
  }
  const { city, tags = [], attributes = {} } = known.user;
  const facts = [city, ...Object.values(attributes)].filter((fact) =>
    ["string", "number"].includes(typeof fact) && fact !== "");
  const wishes = preferences();
  return [
    facts.length && el("p", {}, facts.slice(0, 5).join(" · ")),
    tags.length && el("ul", { class: "tags", "aria-label": "Interests" },
      ...tags.map((tag) => el("li", {}, tag))),
    wishes.length && hint(wishes.join(" · ")),
  ];
}

const hint = (text) => el("p", { class: "hint" }, text);

function preferences() {
  const wants = known.preferences ?? {};
  const { max_distance_km: far, preferred_price_min: low, preferred_price_max: high } = wants;
  const { preferred_tags: liked = [], blocked_tags: hidden = [], blocked_owners: owners = [] } = wants;
  return [
    far != null && `within ${kilometres(far)}`,
    (low != null || high != null) && `price ${low ?? "any"} to ${high ?? "any"}`,
    liked.length && `prefers ${liked.join(", ")}`,
    hidden.length && `hides ${hidden.join(", ")}`,
    owners.length && `${count(owners.length, "owner")} blocked`,
    wants.personalization_enabled === false && "personalisation is off",
  ].filter(Boolean);
}
