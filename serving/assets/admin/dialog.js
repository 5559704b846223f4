// Asks whether something is meant, and why.

import { $ } from "../demo/dom.js";

let meant; // does what was asked, with the reason

export function start() {
  $("dialog-cancel").addEventListener("click", () => $("dialog").close());
  $("dialog-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    $("dialog-do").disabled = true;
    $("dialog-problem").textContent = "";
    try {
      await meant({ reason: $("dialog-reason").value.trim(), force: $("dialog-force").checked });
      $("dialog").close();
    } catch (error) {
      $("dialog-problem").textContent = error.message;
    } finally {
      $("dialog-do").disabled = false;
    }
  });
}

/** `force`: the text of a box that must be ticked, if there is one. */
export function ask({ title, text, button, danger = false, force = null }, act) {
  meant = act;
  $("dialog-title").textContent = title;
  $("dialog-text").textContent = text;
  $("dialog-do").textContent = button;
  $("dialog-do").className = danger ? "danger" : "strong";
  $("dialog-reason").value = "";
  $("dialog-force").checked = false;
  $("dialog-force").required = Boolean(force);
  $("dialog-force-field").hidden = !force;
  $("dialog-force-text").textContent = force ?? "";
  $("dialog-problem").textContent = "";
  $("dialog").showModal();
  $("dialog-reason").focus();
}
