// The user picker: a combobox (WAI-ARIA 1.2) over the users of the catalogue.

import { call, url } from "./api.js";
import { $, debounce, el } from "./dom.js";

const input = $("who");
const list = $("who-list");
const SHOWN = 20;

let options = []; // [{value, label, detail}]
let active = -1;
let current = "";
let choose = () => {};
let search; // the running one, to be given up when the text changes

export function start(onChoose) {
  choose = onChoose;
  input.addEventListener("focus", open);
  input.addEventListener("click", open);
  input.addEventListener("input", narrow);
  input.addEventListener("input", debounce(() => {
    if (!list.hidden) find(input.value.trim()); // hidden: somebody was chosen meanwhile
  }, 150));
  input.addEventListener("keydown", onKey);
  input.addEventListener("blur", close);
  // Not "click": the input would lose the focus first, and close the list.
  list.addEventListener("pointerdown", (event) => event.preventDefault());
}

export function show(user) {
  current = user;
  if (document.activeElement !== input || list.hidden) input.value = user;
}

function open() {
  if (!list.hidden) return;
  input.select();
  find("");
}

/** What is left of the options for the text so far, until the server has answered. */
function narrow() {
  search?.abort();
  options = options.filter((option) => option.value.startsWith(input.value.trim()));
  draw();
}

async function find(text) {
  search?.abort();
  search = new AbortController();
  try {
    const found = await call(url("users", { q: text, limit: SHOWN }), { signal: search.signal });
    options = found.users.map((user) => ({
      value: user.id,
      label: user.id,
      detail: [user.city, ...(user.tags ?? []).slice(0, 3)].filter(Boolean).join(" · "),
    }));
    if (!text) {
      options.unshift({ value: "", label: "Somebody new", detail: "anonymous, nothing known" });
    } else if (!options.some((option) => option.value === text)) {
      options.push({ value: text, label: text, detail: "as a user nobody knows yet" });
    }
  } catch (error) {
    if (error.name === "AbortError") return;
    options = [{ value: current, label: current || "Somebody new", detail: error.message }];
  }
  if (document.activeElement === input) draw();
}

function draw() {
  const marked = list.children[active]?.dataset.value;
  list.replaceChildren(...options.map((option, index) => el("li", {
    id: `who-${index}`,
    role: "option",
    "data-value": option.value,
    "aria-selected": String(option.value === current),
    onclick: () => pick(index),
  }, el("b", {}, option.label), " ", el("span", {}, option.detail))));
  list.hidden = false;
  input.setAttribute("aria-expanded", "true");
  mark(options.findIndex((option) => option.value === marked));
}

function mark(index) {
  list.children[active]?.classList.remove("active");
  active = index;
  const option = list.children[active];
  option?.classList.add("active");
  option?.scrollIntoView({ block: "nearest" });
  if (option) input.setAttribute("aria-activedescendant", option.id);
  else input.removeAttribute("aria-activedescendant");
}

function pick(index) {
  const { value } = options[index];
  close();
  input.value = value;
  if (value !== current) choose(value);
}

function close() {
  search?.abort();
  mark(-1);
  list.hidden = true;
  input.setAttribute("aria-expanded", "false");
  input.value = current;
}

function onKey(event) {
  const { key } = event;
  if (key === "ArrowDown" || key === "ArrowUp") {
    event.preventDefault();
    if (list.hidden) return open();
    const step = key === "ArrowDown" ? 1 : -1;
    mark((active + step + options.length) % options.length);
  } else if (key === "Enter") {
    event.preventDefault();
    if (list.hidden) return open();
    const typed = options.findIndex((option) => option.value === input.value.trim());
    const chosen = active >= 0 ? active : typed;
    if (chosen >= 0) pick(chosen);
  } else if (key === "Escape") {
    close();
  }
}
