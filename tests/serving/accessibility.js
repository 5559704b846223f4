// What is wrong for people who do not see well or use no mouse; run inside the page.
(() => {
  const visible = (element) => element.checkVisibility({ visibilityProperty: true });
  const all = (selector) => [...document.querySelectorAll(selector)].filter(visible);
  const describe = (element) =>
    `${element.tagName.toLowerCase()}#${element.id}.${element.getAttribute("class") ?? ""}`;
  const texts = (ids) => ids.split(" ").map((id) => document.getElementById(id)?.textContent ?? "").join(" ");

  const name = (element) =>
    element.getAttribute("aria-label") ||
    texts(element.getAttribute("aria-labelledby") ?? "").trim() ||
    [...(element.labels ?? [])].map((label) => label.textContent).join(" ").trim() ||
    (element.matches("input, select") ? "" : element.textContent.trim());
  const controls = "a, button, input, select, summary, [role], [tabindex]";
  const nameless = all(controls).filter((e) => !e.matches("[role=alert], [role=status]") && !name(e));

  const ids = [...document.querySelectorAll("[id]")].map((element) => element.id);
  const levels = all("h1, h2, h3, h4").map((heading) => Number(heading.tagName[1]));

  // Contrast of text (WCAG 2.2, 1.4.3): 4.5, or 3 when it is large.
  const parts = (colour) => colour.match(/[\d.]+/g).map(Number);
  const luminance = (colour) => {
    const [r, g, b] = parts(colour).map((value) => value / 255)
      .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = getComputedStyle(e).backgroundColor;
      if (parts(colour)[3] !== 0) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const hasText = (element) =>
    [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
  const faint = all("body *").filter((e) => hasText(e) && !e.disabled && !e.closest("svg")).filter((element) => {
    const style = getComputedStyle(element);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    const [dark, light] = [luminance(style.color), luminance(ground(element))].sort((a, b) => a - b);
    return (light + 0.05) / (dark + 0.05) < (large ? 3 : 4.5);
  });

  return {
    nameless: nameless.map(describe),
    repeated_ids: ids.filter((id, index) => ids.indexOf(id) !== index),
    skipped_headings: levels.filter((level, index) => index && level > levels[index - 1] + 1),
    faint: [...new Set(faint.map(describe))],
  };
})()
