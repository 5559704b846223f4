// What the buttons do. A button says it in data-act, with what it is about beside it.

import { call } from "./api.js";
import { ask } from "./dialog.js";
import { capital } from "./words.js";

const post = (path, body) => call(path, { method: "POST", body });

const EXPERIMENT = {
  start: ["Its users get their arms from now on.", false],
  pause: ["Its users get what everybody gets until it is resumed.", false],
  resume: ["Its users get their arms again, the same as before.", false],
  end: ["Its users get what everybody gets, for good. It cannot be started again.", true],
};

/** `did(text)` is called with what came of it. */
const ACTS = {
  rollback: ({ expected, previous }, did) => ask({
    title: `Roll back version ${expected}?`,
    text: `${previous ? `Version ${previous}` : "The version before it"} is live again within seconds, and nothing `
      + `promotes version ${expected} again. No request fails.`,
    button: "Roll back",
    danger: true,
  }, async ({ reason }) => did(moved(await post("models/rollback", { reason, expected })))),

  activate: ({ version, withdrawn }, did) => ask({
    title: `Activate version ${version}?`,
    text: withdrawn
      ? `It is not meant to be live: ${withdrawn}.`
      : "Every worker serves it within seconds. No request fails.",
    button: "Activate",
    force: withdrawn ? "Make it live all the same" : null,
  }, async ({ reason, force }) => did(moved(await post(`models/${version}/activate`, { reason, force })))),

  train: (_, did) => ask({
    title: "Train a model now?",
    text: "Dagster runs the daily job over the days that changed. What it makes goes live only if it passes the gate.",
    button: "Train",
  }, async ({ reason }) => {
    await post("train", { reason });
    did("The training has started.");
  }),

  ...Object.fromEntries(Object.entries(EXPERIMENT).map(([act, [text, danger]]) => [
    act,
    ({ experiment }, did) => ask({
      title: `${capital(act)} ${experiment}?`, text, button: capital(act), danger,
    }, async ({ reason }) => {
      await post(`experiments/${encodeURIComponent(experiment)}/${act}`, { reason });
      did(`${experiment}: ${act} is done.`);
    }),
  ])),
};

const moved = ({ note, version }) => capital(note ?? `version ${version} is live`);

/**
 * Listens below `root`. `did(text)` after something was done, `failed(error)` if it was not; a flag
 * changes between `begun()` and `ended()`.
 */
export function start(root, { begun, ended, did, failed }) {
  root.addEventListener("click", ({ target }) => {
    const button = target.closest("button[data-act]");
    if (button) ACTS[button.dataset.act](button.dataset, did);
  });
  let last = Promise.resolve(); // flags change in the order in which they were clicked
  root.addEventListener("change", ({ target }) => {
    if (target.dataset.act !== "flag") return;
    const row = target.closest("li");
    const share = row.querySelector("input[type=number]");
    if (!share.reportValidity() || share.value === "") return;
    const { name, environment } = target.dataset;
    const enabled = row.querySelector("input[type=checkbox]").checked;
    // Off is off for all: the API takes a share only of what is on.
    const body = { enabled, environment, ...(enabled && { share: share.valueAsNumber / 100 }) };
    const text = `${name} is ${enabled ? `on for ${share.value} % of users` : "off"}.`;
    begun();
    last = last
      .then(() => call(`flags/${encodeURIComponent(name)}`, { method: "PUT", body }))
      .then(() => did(text), failed)
      .finally(ended);
  });
}
