// Small helpers for elements of the page.

const SVG = "http://www.w3.org/2000/svg";
const SVG_TAGS = new Set(["svg", "g", "path", "line", "rect", "circle", "text", "clipPath", "defs", "image", "title"]);

// An element: el("button", { class: "wide", onclick: go, "aria-label": "Go" }, "Go", icon). Null and false are left out, but for aria-...: false is said.
export function el(tag, attributes = {}, ...children) {
  const element = SVG_TAGS.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    const aria = name.startsWith("aria-");
    if (value === null || value === undefined || (value === false && !aria)) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true && !aria ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

// Hand the browser a file to save: text or a Blob.
export function download(name, content, type = "text/plain") {
  const blob = content instanceof Blob ? content : new Blob([content], { type });
  const link = el("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

// Numbers as people write them: 1,234 and 98.21 %; null and NaN are a dash.
const isNumber = (value) => typeof value === "number" && Number.isFinite(value);
export const count = (value) => (isNumber(value) ? Math.round(value).toLocaleString("en-US") : "–");
export const percent = (value, digits = 2) => (isNumber(value) ? `${(100 * value).toFixed(digits)} %` : "–");
export const short = (value) => (isNumber(value) ? String(Number(value.toPrecision(4))) : String(value ?? "–"));
