// Elements from data. Text only ever becomes a text node, so no data can become markup.

/** el("p", {class: "hint", hidden: true, onclick: f}, "text", child, null): null is left out. */
export function el(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

export function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function fill(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value != null) element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

export const $ = (id) => document.getElementById(id);

/** Calls `act` once the calls have paused for so many milliseconds. */
export function debounce(act, milliseconds) {
  let timer;
  return (...parameters) => {
    clearTimeout(timer);
    timer = setTimeout(() => act(...parameters), milliseconds);
  };
}

export const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
