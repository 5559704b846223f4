// Makes what is shown equal to what should be, and touches nothing that is already so: focus,
// scroll and what somebody is typing stay.

const keyOf = (node) => node.dataset?.key;

/** Gives `parent` these children. Those with a data-key stay the same elements wherever they are. */
export function morph(parent, children) {
  const wanted = children.flat().filter((child) => child != null && child !== false)
    .map((child) => (child instanceof Node ? child : document.createTextNode(child)));
  const keys = new Set(wanted.map(keyOf).filter(Boolean));
  const known = new Map();
  for (const child of [...parent.childNodes]) {
    if (!keyOf(child)) continue;
    if (keys.has(keyOf(child))) known.set(keyOf(child), child);
    else child.remove();
  }
  let at = parent.firstChild;
  for (const child of wanted) {
    const old = known.get(keyOf(child)) ?? (at && !keyOf(at) && alike(at, child) ? at : null);
    if (!old) {
      parent.insertBefore(child, at);
      continue;
    }
    if (old === at) at = at.nextSibling;
    else parent.insertBefore(old, at);
    patch(old, child);
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

const alike = (one, other) =>
  one.nodeType === other.nodeType && one.nodeName === other.nodeName && !keyOf(other);

function patch(old, wanted) {
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.nodeValue !== wanted.nodeValue) old.nodeValue = wanted.nodeValue;
    return;
  }
  for (const { name } of [...old.attributes]) {
    if (!wanted.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  }
  for (const { name, value } of wanted.attributes) {
    if (old.getAttribute(name) !== value && name !== "open") old.setAttribute(name, value);
  }
  if (old.matches("input, select") && old !== document.activeElement) {
    if (old.type === "checkbox") old.checked = wanted.checked;
    else if (old.value !== wanted.value) old.value = wanted.value;
  }
  morph(old, [...wanted.childNodes]);
}
