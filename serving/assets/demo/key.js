// The key of a server that asks for one. It is kept for this tab and goes nowhere but there.

import { el } from "./dom.js";

const NAME = "feedwright key";

export const key = () => sessionStorage.getItem(NAME);

/** Headers that a call carries. */
export const credentials = () => (key() ? { Authorization: `Bearer ${key()}` } : {});

/** A form that takes a key, and then calls `again`. */
export function askForKey(again) {
  const field = el("input", {
    id: "key", type: "password", autocomplete: "off", spellcheck: "false", required: true,
  });
  return el("form", {
    class: "row",
    onsubmit: (event) => {
      event.preventDefault();
      sessionStorage.setItem(NAME, field.value.trim());
      again();
    },
  },
  el("label", { for: "key" }, "Key (admin, or read)"), field,
  el("button", { type: "submit" }, "Use it"));
}
