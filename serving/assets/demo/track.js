// Acting as the user who is shown: what is seen and pressed is sent by the tracker, as on a
// page of a product, and the feed learns from it.

import { feedwright } from "../tracker/feedwright.js";
import { call, url } from "./api.js";
import { $ } from "./dom.js";
import { key } from "./key.js";
import { state } from "./state.js";

const TAUGHT = 300; // milliseconds until every worker knows
let tracker = null;
let user = null; // whose tracker it is

export const acting = () => $("act").checked && state.user !== "";

/** `again` shows the feed anew. */
export function start(again) {
  $("act").addEventListener("change", again);
  // After the tracker's own listener, which is further out.
  $("cards").addEventListener("click", ({ target }) => {
    const control = target.closest("[data-fw-action]");
    if (!tracker || !control || control.dataset.fwAction === "none") return;
    setTimeout(async () => {
      await tracker?.flush();
      setTimeout(again, TAUGHT);
    });
  });
}

/** Starts, changes or ends the tracker, as the state and the switch say. */
export async function follow() {
  $("act").disabled = state.user === "";
  const wanted = acting() ? state.user : null;
  if (wanted === user) return;
  tracker?.close();
  tracker = null;
  user = wanted;
  if (wanted === null) return;
  const token = key() ? await tokenOf(wanted) : undefined;
  if (user !== wanted) return; // somebody else was chosen meanwhile
  tracker = feedwright({
    url: new URL(".", document.baseURI).href,
    userId: wanted,
    token,
    batchSeconds: 2,
    storage: null,
    respectDoNotTrack: false, // the switch is asked for here, and says what it does
  });
  tracker.observe($("cards"));
}

/** Says which feed the cards are of. */
export function shown(page) {
  const feed = { fwFeed: page.feed_id, fwVariant: page.variant, fwModel: page.model_version };
  for (const [name, value] of Object.entries(feed)) {
    if (value == null) delete $("cards").dataset[name];
    else $("cards").dataset[name] = value;
  }
}

/** Where keys are asked for, a token lets this page speak for the user. */
async function tokenOf(id) {
  const body = { user_id: id, hours: 1, scopes: ["track"] };
  return (await call(url("admin/user-tokens"), { body })).token;
}
