// Charts in SVG: lines with bands, stacked areas and points, on linear or logarithmic axes.
//
//   const chart = new Chart(element, { title: "accuracy", x: { label: "step" }, y: { label: "%", format: percents } });
//   chart.draw({ lines: [{ name: "validation", x: [0, 10], y: [0.1, 0.9] }] });
//
// An axis takes label, log, integer (no ticks between whole numbers), min, max and format(value, step): step is the
// distance of two ticks, or undefined where a single value is told as exactly as it should be.
// draw takes, all of them optional:
//   lines   [{ name, color, dash, width, x, y, low, high, mark }]   low and high: a band; mark: a word for a line that has ended
//   areas   [{ name, color, opacity, x, low, high }]
//   points  [{ name, label, color, x, y, error, hollow, href }]     label: what is under the cursor; error: y plus and minus
//   cursor  x of a vertical line
//   range   { x: [low, high], y: [low, high] }: what to show until somebody zooms
// The x of a line ascend; null and NaN in y are gaps. What has a name is in the legend and is told under the cursor.

import { el, short } from "dom";

const SERIES = 8;
const MOST_TOLD = 12; // values under the cursor
const KEYS = "Arrow keys read the values, plus and minus zoom, Escape leaves.";
let charts = 0;

// The colour of the series with this index.
export const series = (index) => `var(--series-${(index % SERIES) + 1})`;

// Formats of an axis: 1,234 or 0.25; and a share as a percentage.
export function number(value, step) {
  if (!Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size >= 1e6) return `${Number((value / 1e6).toPrecision(4))}M`;
  if (size && size < 1e-3) return value.toExponential(step === undefined ? 2 : 0).replace(/\.?0*e/, "e");
  const text = step !== undefined ? value.toFixed(decimals(step)) : Number.isInteger(value) ? String(value) : short(value);
  const [whole, ...rest] = text.split(".");
  return [whole.replace(/\B(?=(\d{3})+$)/g, ","), ...rest].join(".");
}
export const percents = (value, step) =>
  Number.isFinite(value) ? `${(100 * value).toFixed(step === undefined ? 2 : decimals(100 * step))} %` : "–";

const decimals = (step) => Math.max(0, Math.min(9, -Math.floor(Math.log10(step) + 1e-9)));

// At most about `most` round numbers from low to high, each with the distance to its neighbour.
export function ticks(low, high, most, log = false, least = 0) {
  if (log && high / low >= 8) {
    const first = Math.floor(Math.log10(low)), last = Math.ceil(Math.log10(high));
    for (const [every, digits] of [[1, [1, 2, 5]], [1, [1]], [2, [1]], [3, [1]], [6, [1]]]) {
      const found = [];
      for (let power = Math.ceil(first / every) * every; power <= last; power += every)
        for (const digit of digits) found.push({ value: Number(`${digit}e${power}`), step: 10 ** power });
      const inside = found.filter(({ value }) => value >= low * 0.999 && value <= high * 1.001);
      if (inside.length <= most && inside.length > 1) return inside;
    }
  }
  const rough = Math.max((high - low) / Math.max(most, 1), least, 1e-300);
  const power = 10 ** Math.floor(Math.log10(rough) + 1e-9);
  const step = power * ([1, 2, 5].find((digit) => digit * power >= rough * 0.999) ?? 10);
  const found = [];
  for (let i = Math.ceil(low / step - 1e-6); i <= high / step + 1e-6; i++) found.push({ value: i * step, step });
  return found;
}

export class Chart {
  constructor(element, { title = "", x = {}, y = {}, legend = true, firstOnTop = false } = {}) {
    Object.assign(this, { element, title, x, y, firstOnTop, data: {}, hidden: new Set(), view: null, at: null, dragging: null });
    this.id = `chart-${++charts}`;
    this.zooms = "mouse";
    this.svgElement = el("svg", {
      role: "img", tabindex: 0, "aria-roledescription": "chart", "aria-describedby": `${this.id}-keys`,
      onpointermove: (event) => this.#moved(event), onpointerdown: (event) => this.#pressed(event),
      onpointerup: (event) => this.#released(event), onpointercancel: () => this.#stopDragging(),
      onpointerleave: () => this.dragging || this.#point(null), ondblclick: () => this.reset(),
      onclick: (event) => this.#clicked(event), onkeydown: (event) => this.#key(event), onblur: () => this.#point(null),
    });
    this.back = el("button", { type: "button", class: "chart-back", hidden: true, onclick: () => this.reset() }, "Show all");
    this.tip = el("div", { class: "chart-tip", hidden: true });
    this.told = el("p", { class: "unseen", "aria-live": "polite" });
    this.legend = legend ? el("div", { class: "chart-legend", role: "group", "aria-label": "Lines shown" }) : null;
    this.plot = el("div", { class: "chart-plot" }, this.svgElement, this.tip, this.back);
    element.classList.add("chart");
    element.replaceChildren(
      ...(title ? [el("div", { class: "chart-title" }, title)] : []), this.plot, ...(legend ? [this.legend] : []),
      this.told, el("p", { class: "unseen", id: `${this.id}-keys` }, KEYS));
    this.size = { width: 0, height: 0 }; // told after the first layout, so that a page of many charts is laid out once
    new ResizeObserver(([{ contentRect }]) => {
      this.size = contentRect;
      this.#render();
    }).observe(this.plot);
  }

  draw(data) {
    this.data = data;
    this.#drawLegend();
    this.#render();
    this.svgElement.setAttribute("aria-label", this.#sentence());
  }

  // Hide what has this name, or show it again.
  toggle(name) {
    if (!this.hidden.delete(name)) this.hidden.add(name);
    this.draw(this.data);
  }

  // Whether dragging draws a box to zoom into, with a finger too. Until told, the mouse does and a finger reads values.
  zoomBox(on) {
    this.zooms = on ? "all" : "none";
    this.svgElement.style.touchAction = on ? "none" : "";
  }

  // Show all again.
  reset() {
    this.#zoom(null);
  }

  // The picture as the text of a file: title and legend in it, colours as they are now.
  svg() {
    const { width, height, font } = this.frame, line = 1.7 * font, above = this.title ? line : 0;
    const copy = this.svgElement.cloneNode(true);
    copy.querySelector(".chart-cursor").remove();
    const moved = el("g", { transform: `translate(0 ${above})` }, ...copy.childNodes), legend = [];
    let left = font, row = 0;
    const entries = this.#named().filter(({ name }) => !this.hidden.has(name));
    for (const { name, ...entry } of entries.length > 1 ? entries : []) {
      const wide = 3.5 * font + 0.58 * font * name.length;
      if (left + wide > width && left > font) [left, row] = [font, row + 1];
      const middle = above + height + (row + 0.5) * line;
      legend.push(
        swatch(entry, left, middle, 1.6 * font),
        el("text", { x: left + 2.1 * font, y: middle, dy: ".35em", fill: "var(--ink)" }, name));
      left += wide;
    }
    const total = above + height + (legend.length ? (row + 1.3) * line : 0);
    const picture = el(
      "svg", { xmlns: "http://www.w3.org/2000/svg", width, height: total, viewBox: `0 0 ${width} ${total}`,
        "font-family": "system-ui, sans-serif", "font-size": font },
      el("title", {}, this.#sentence()), el("rect", { width, height: total, fill: "var(--paper)" }),
      el("text", { x: font / 2, y: 1.3 * font, "font-weight": 600, "font-size": 1.1 * font, fill: "var(--ink)" }, this.title),
      moved, ...legend);
    const colors = getComputedStyle(this.element);
    return new XMLSerializer().serializeToString(picture)
      .replace(/var\((--[\w-]+)\)/g, (_, name) => colors.getPropertyValue(name).trim());
  }

  // The same as a PNG, `scale` pixels for each of the screen's.
  async png(scale = 2) {
    const image = new Image();
    image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(this.svg())}`;
    await image.decode();
    const canvas = el("canvas", { width: Math.round(image.width * scale), height: Math.round(image.height * scale) });
    canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
    return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  }

  // ---- what is shown ----

  #shown(kind) {
    return (this.data[kind] ?? []).filter(({ name }) => !this.hidden.has(name));
  }

  // One of each name: the entries of the legend.
  #named() {
    const found = new Map();
    for (const kind of ["areas", "lines", "points"])
      (this.data[kind] ?? []).forEach(({ name, color, dash, opacity }, i) => {
        if (name && !found.has(name)) found.set(name, { name, dash, opacity, wide: kind === "areas" ? 10 : 3, color: color ?? series(i) });
      });
    return [...found.values()];
  }

  #drawLegend() {
    if (!this.legend) return;
    const entries = this.#named(), said = JSON.stringify([entries, [...this.hidden]]);
    if (said === this.said) return; // a button that is in use stays the same element
    this.said = said;
    const focused = [...this.legend.children].indexOf(document.activeElement);
    const buttons = entries.map((entry) => legendButton(entry, !this.hidden.has(entry.name), () => this.toggle(entry.name)));
    this.legend.replaceChildren(...(entries.length > 1 ? buttons : []));
    if (focused >= 0) buttons[focused]?.focus();
  }

  #sentence() {
    const tell = { x: this.x.format ?? number, y: this.y.format ?? number };
    const lines = this.#shown("lines").filter(({ name }) => name).map(({ name, x, y, mark }) => {
      let last = y.length - 1;
      while (last >= 0 && !Number.isFinite(y[last])) last--;
      const where = `${this.x.label ?? "x"} ${tell.x(x[last])}`;
      return last < 0 ? `${name}: no value` : `${name}: ${tell.y(y[last])} at ${where}${mark ? ` (${mark})` : ""}`;
    });
    const points = this.#shown("points"), areas = this.#shown("areas").map(({ name }) => name).filter(Boolean);
    const best = points.length ? points.reduce((a, b) => (b.y > a.y ? b : a)) : null;
    const told = [
      ...lines, areas.length ? `areas: ${areas.join(", ")}` : null,
      best && `${points.length} points, the highest: ${best.label ?? best.name ?? ""} with ${tell.y(best.y)} at ${tell.x(best.x)}`,
    ].filter(Boolean);
    const axes = this.y.label && this.x.label ? ` (${this.y.label} against ${this.x.label})` : "";
    return `${this.title || "Chart"}${axes}. ${told.join("; ") || "nothing to show yet"}.`;
  }

  // ---- drawing ----

  #limits(axis) {
    const { log, min, max } = this[axis];
    if (this.view) return this.view[axis];
    if (this.data.range?.[axis]) return this.data.range[axis];
    let low = Infinity, high = -Infinity;
    const see = (value) => {
      if (!Number.isFinite(value) || (log && value <= 0)) return;
      if (value < low) low = value;
      if (value > high) high = value;
    };
    for (const kind of ["lines", "areas"])
      for (const line of this.#shown(kind))
        for (const values of axis === "x" ? [line.x] : [line.y, line.low, line.high]) for (const value of values ?? []) see(value);
    for (const { [axis]: value, error = 0 } of this.#shown("points"))
      for (const sign of [-1, 1]) see(value + (axis === "y" ? sign * error : 0));
    if (low > high) [low, high] = log ? [0.1, 1] : [0, 1];
    const padded = axis === "y" || this.data.points?.length;
    if (log) {
      const room = low === high ? 2 : (high / low) ** (padded ? 0.06 : 0);
      [low, high] = [low / room, high * room];
    } else {
      const room = low === high ? Math.abs(low) * 0.1 || 1 : (high - low) * (padded ? 0.05 : 0);
      const beyond = low >= 0 && low - room < 0; // what is never negative has no axis below zero
      [low, high] = [beyond ? 0 : low - room, high + room];
    }
    return [min ?? low, max ?? high];
  }

  #render() {
    const { width, height } = this.size;
    if (!width || !height) return; // not laid out yet, or hidden
    const font = Math.max(11.5, Math.min(26, 10.8 + Math.min(width, 1.6 * height) / 260)), stroke = font / 7;
    const top = font * (this.y.label ? 2 : 0.8), bottom = height - font * (this.x.label ? 3.1 : 1.9);
    const [yLow, yHigh] = this.#limits("y"), [xLow, xHigh] = this.#limits("x");
    const written = (axis, { value, step }) => (axis.format ?? number)(value, step);
    const yTicks = ticks(yLow, yHigh, Math.max(2, (bottom - top) / (2.7 * font)), this.y.log, this.y.integer ? 1 : 0);
    const yTexts = yTicks.map((tick) => written(this.y, tick));
    const left = font * (0.6 * Math.max(2, ...yTexts.map((text) => text.length)) + 0.8), right = width - 2 * font;
    let xTicks, xTexts, most = (right - left) / (3 * font);
    do { // until the labels have room
      xTicks = ticks(xLow, xHigh, most, this.x.log, this.x.integer ? 1 : 0);
      xTexts = xTicks.map((tick) => written(this.x, tick));
      most *= 0.8;
    } while (most > 1 && xTicks.length * 0.6 * font * (Math.max(...xTexts.map((text) => text.length)) + 2) > right - left);
    const X = scale(this.x.log, xLow, xHigh, left, right), Y = scale(this.y.log, yLow, yHigh, bottom, top);
    this.frame = { width, height, font, left, right, top, bottom, X, Y, xLow, xHigh };

    const crisp = (value) => Math.round(value) + 0.5, text = { fill: "var(--faint)", "font-size": 0.92 * font };
    const axes = [];
    yTicks.forEach(({ value }, i) => axes.push(
      el("path", { d: `M${left} ${crisp(Y(value))}H${right}`, stroke: "var(--line)" }),
      el("text", { ...text, class: "y tick", x: left - 0.5 * font, y: Y(value), dy: ".35em", "text-anchor": "end" }, yTexts[i])));
    xTicks.forEach(({ value }, i) => axes.push(
      el("path", { d: `M${crisp(X(value))} ${bottom}v${font / 3}`, stroke: "var(--faint)" }),
      el("text", { ...text, class: "x tick", x: X(value), y: bottom + 1.35 * font, "text-anchor": "middle" }, xTexts[i])));
    axes.push(
      el("path", { d: `M${left} ${crisp(bottom)}H${right}`, stroke: "var(--faint)" }),
      this.y.label && el("text", { ...text, x: font * 0.2, y: font }, this.y.label),
      this.x.label && el("text", { ...text, x: (left + right) / 2, y: bottom + 2.7 * font, "text-anchor": "middle" }, this.x.label));

    const clip = el("clipPath", { id: this.id }, el("rect", { x: left - stroke, y: top - stroke, width: right - left + 2 * stroke, height: bottom - top + 2 * stroke }));
    const marks = el("g", { "clip-path": `url(#${this.id})`, fill: "none", "stroke-linejoin": "round", "stroke-linecap": "round" });
    const ends = [];
    this.#shown("areas").forEach(({ color, opacity = 1, x, low, high }, i) =>
      marks.append(el("path", { d: this.#band(x, low, high), fill: color ?? series(i), "fill-opacity": opacity })));
    const lines = this.#shown("lines").map((line) => ({ color: series(this.data.lines.indexOf(line)), ...line }));
    if (this.firstOnTop) lines.reverse();
    for (const { color, x, low, high } of lines)
      if (low) marks.append(el("path", { d: this.#band(x, low, high), fill: color, "fill-opacity": 0.16 }));
    for (const { color, dash, width: wide = 1, x, y, mark } of lines) {
      const { d, single, last } = this.#path(x, y);
      marks.append(el("path", { d, stroke: color, "stroke-width": stroke * wide, "stroke-dasharray": dash }));
      for (const [cx, cy] of single) marks.append(el("circle", { cx, cy, r: 1.8 * stroke, fill: color }));
      if (mark && last) ends.push(this.#end(mark, color, ...last));
    }
    for (const point of this.#shown("points")) marks.append(...this.#dot(point, stroke));
    if (Number.isFinite(this.data.cursor))
      marks.append(el("path", { class: "chart-now", d: `M${crisp(X(this.data.cursor))} ${top}V${bottom}`, stroke: "var(--ink)", "stroke-width": stroke * 0.8, "stroke-dasharray": `${stroke} ${2 * stroke}` }));
    this.over = el("g", { class: "chart-cursor", fill: "none" });
    this.svgElement.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.svgElement.setAttribute("font-size", font);
    this.svgElement.replaceChildren(el("defs", {}, clip), ...axes.filter(Boolean), marks, ...ends, this.over);
    this.back.hidden = !this.view;
    this.plot.style.setProperty("--chart-font", `${font}px`);
    this.#showCursor();
  }

  // The path of a line, with about two points a pixel column: the lowest and the highest, so that no peak is lost.
  #path(x, y) {
    const { X, Y } = this.frame, parts = [], single = [];
    let last = null;
    for (const [start, end] of this.#runs(x, y)) {
      const kept = thin(x, y, start, end, X);
      last = [X(x[end - 1]), Y(y[end - 1])];
      if (kept.length === 1) single.push(last);
      else parts.push(`M${kept.map((i) => `${round(X(x[i]))} ${round(Y(y[i]))}`).join("L")}`);
    }
    return { d: parts.join(""), single, last };
  }

  #band(x, low, high) {
    const { X, Y, bottom } = this.frame, parts = [];
    const place = (values) => (i) => `${round(X(x[i]))} ${round(this.y.log && !(values[i] > 0) ? bottom : Y(values[i]))}`;
    for (const [start, end] of this.#runs(x, high)) {
      const above = thin(x, high, start, end, X).map(place(high)), below = thin(x, low, start, end, X).map(place(low));
      parts.push(`M${above.join("L")}L${below.reverse().join("L")}Z`);
    }
    return parts.join("");
  }

  // The stretches [start, end) without a gap that are in sight, with one point more on each side.
  *#runs(x, y) {
    const { xLow, xHigh } = this.frame, { log } = this.y;
    let start = -1;
    for (let i = 0; i <= x.length; i++) {
      const there = i < x.length && Number.isFinite(y[i]) && (!log || y[i] > 0) && (!this.x.log || x[i] > 0)
        && !(x[i + 1] < xLow) && !(x[i - 1] > xHigh);
      if (there && start < 0) start = i;
      if (!there && start >= 0) {
        yield [start, i];
        start = -1;
      }
    }
  }

  #end(mark, color, x, y) {
    const { font, left, right, top, bottom } = this.frame, arm = font / 3.5;
    if (x < left - 1 || x > right + 1 || y < top - 1 || y > bottom + 1) return "";
    const near = x > right - 5 * font;
    return el("g", {},
      el("path", { d: `M${x - arm} ${y - arm}l${2 * arm} ${2 * arm}m0 ${-2 * arm}l${-2 * arm} ${2 * arm}`, stroke: color, "stroke-width": font / 6, fill: "none" }),
      mark === true ? null : el("text", { x: x + (near ? -1.6 : 1.6) * arm, y: y - 1.2 * arm, "text-anchor": near ? "end" : "start",
        fill: color, "font-size": 0.85 * font, stroke: "var(--paper)", "stroke-width": font / 4, "paint-order": "stroke" }, mark));
  }

  #dot(point, stroke) {
    const { X, Y } = this.frame, { color = series(0), error, hollow } = point, x = X(point.x), y = Y(point.y);
    if (!Number.isFinite(x) || !Number.isFinite(y)) return [];
    const bar = error ? el("path", { d: `M${x} ${Y(point.y - error)}V${Y(point.y + error)}`, stroke: color, "stroke-width": stroke * 0.7 }) : null;
    const circle = el("circle", { cx: x, cy: y, r: (point.size ?? 1) * 2.6 * stroke, fill: hollow ? "var(--paper)" : color, stroke: hollow ? color : "var(--paper)", "stroke-width": stroke * 0.7 });
    return bar ? [bar, circle] : [circle];
  }

  // ---- the cursor ----

  #point(at, aloud = false) {
    this.at = at;
    this.#showCursor();
    if (aloud) this.told.textContent = this.#rows().text;
  }

  // What to tell at the cursor: a heading, a row for each line, and all of it as a sentence.
  #rows() {
    const tellX = (value) => `${this.x.label ?? "x"} ${(this.x.format ?? number)(value)}`, tellY = this.y.format ?? number;
    if (!this.at) return { head: "", rows: [], text: "" };
    if (this.at.point) {
      const { point } = this.at, error = point.error ? ` ± ${tellY(point.error)}` : "";
      const rows = [{ value: `${tellY(point.y)}${error}`, ...point, name: this.y.label }, { value: tellX(point.x), x: null }];
      const head = point.label ?? point.name ?? "";
      return { head, rows, text: `${head}: ${rows.map(({ value }) => value).join(", ")}` };
    }
    const rows = [];
    this.#shown("lines").forEach((line) => {
      if (!line.name || !line.x.length) return;
      const i = nearest(line.x, this.at.x), color = line.color ?? series(this.data.lines.indexOf(line)), y = line.y[i];
      const band = line.low && line.high[i] > line.low[i] ? ` (${tellY(line.low[i])} to ${tellY(line.high[i])})` : "";
      rows.push({ name: line.name, color, x: line.x[i], y, value: tellY(y), band });
    });
    rows.sort((a, b) => b.y - a.y);
    for (const { name, color, x, low, high } of this.#shown("areas").toReversed()) {
      const i = nearest(x, this.at.x);
      if (name && x.length) rows.push({ name, color, x: x[i], value: `${tellY(low[i])} to ${tellY(high[i])}` });
    }
    for (const row of rows) row.more = (row.band ?? "") + (row.x === this.at.x ? "" : ` at ${(this.x.format ?? number)(row.x)}`);
    const text = `${tellX(this.at.x)}: ${rows.map(({ name, value, more }) => `${name} ${value}${more}`).join(", ")}`;
    return { head: tellX(this.at.x), rows, text };
  }

  #showCursor() {
    if (!this.frame) return;
    const { X, Y, top, bottom, left, right, font, width } = this.frame, { head, rows } = this.#rows();
    const at = this.at && X(this.at.point?.x ?? this.at.x), seen = this.at && at >= left - 1 && at <= right + 1;
    this.tip.hidden = !seen;
    if (!seen) return this.over.replaceChildren();
    const dots = rows.filter(({ x, y }) => Number.isFinite(X(x)) && Number.isFinite(Y(y))).map(({ x, y, color }) =>
      el("circle", { cx: X(x), cy: Y(y), r: font / 3.2, fill: color ?? "var(--ink)", stroke: "var(--paper)", "stroke-width": font / 8 }));
    const line = this.at.point ? [] : [el("path", { d: `M${at} ${top}V${bottom}`, stroke: "var(--faint)" })];
    this.over.replaceChildren(...line, ...dots);
    this.tip.replaceChildren(el("strong", {}, head), ...rows.slice(0, MOST_TOLD).map(({ name, color, value, more }) =>
      el("div", {}, color && el("i", { style: `background:${color}` }), name && `${name} `, el("b", {}, value), more && el("small", {}, more))));
    if (rows.length > MOST_TOLD) this.tip.append(el("div", {}, `and ${rows.length - MOST_TOLD} more`));
    const room = this.tip.offsetWidth, beside = at + font + room < width ? at + font : at - font - room;
    this.tip.style.left = `${Math.max(0, Math.min(beside, width - room))}px`;
    this.tip.style.top = `${top}px`;
  }

  // The place nearest to a pixel: a point within reach, or the x of some line or area.
  #nearest(px, py) {
    const { X, Y, font } = this.frame;
    let best = null, reach = (2.5 * font) ** 2;
    for (const point of this.#shown("points")) {
      const away = (X(point.x) - px) ** 2 + (Y(point.y) - py) ** 2;
      if (away < reach) [best, reach] = [{ point }, away];
    }
    if (best) return best;
    let x = null;
    for (const line of this.#read())
      if (line.x.length) {
        const found = line.x[nearest(line.x, X.back(px))];
        if (x === null || Math.abs(X(found) - px) < Math.abs(X(x) - px)) x = found;
      }
    return x === null ? null : { x };
  }

  #read() {
    return [...this.#shown("lines"), ...this.#shown("areas")].filter(({ name }) => name);
  }

  // The next place to the right (1) or left (-1) of the cursor that is in sight.
  #next(direction) {
    const { xLow, xHigh } = this.frame, points = this.#shown("points").filter(({ x }) => x >= xLow && x <= xHigh);
    if (points.length) {
      points.sort((a, b) => a.x - b.x || a.y - b.y);
      const now = points.indexOf(this.at?.point);
      return { point: points[now < 0 ? (direction > 0 ? 0 : points.length - 1) : Math.max(0, Math.min(now + direction, points.length - 1))] };
    }
    const from = this.at ? this.at.x : direction > 0 ? -Infinity : Infinity;
    let best = null;
    for (const { x } of this.#read()) {
      for (let i = bisect(x, from) + (direction > 0 ? 0 : -1); i >= 0 && i < x.length; i += direction)
        if (direction * (x[i] - from) > 0) {
          if (x[i] >= xLow && x[i] <= xHigh && (best === null || direction * (best - x[i]) > 0)) best = x[i];
          if (x[i] >= xLow && x[i] <= xHigh) break;
        }
    }
    return best === null ? this.at : { x: best };
  }

  #key(event) {
    const { key, shiftKey, ctrlKey, metaKey, altKey } = event;
    if (ctrlKey || metaKey || altKey || !this.frame) return;
    if (key === "ArrowRight" || key === "ArrowLeft")
      for (let i = 0; i < (shiftKey ? 10 : 1); i++) this.#point(this.#next(key === "ArrowRight" ? 1 : -1), i === (shiftKey ? 9 : 0));
    else if (key === "Home" || key === "End") {
      this.at = null;
      this.#point(this.#next(key === "Home" ? 1 : -1), true);
    } else if (key === "+" || key === "-") this.#zoomBy(key === "+" ? 0.5 : 2);
    else if (key === "Enter" && this.at?.point?.href) location.assign(this.at.point.href);
    else if (key === "Escape" && (this.at || this.view)) {
      if (this.at) this.#point(null);
      else this.reset();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }

  // ---- zoom ----

  #zoomBy(factor) {
    const { X, Y, left, right, top, bottom } = this.frame;
    const middle = this.at ? X(this.at.point?.x ?? this.at.x) : (left + right) / 2, half = ((right - left) / 2) * factor;
    const [low, high] = [Math.max(left, middle - half), Math.min(right, middle + half)];
    this.#zoom(factor > 1 ? null : { x: [X.back(low), X.back(high)], y: [Y.back(bottom), Y.back(top)] });
  }

  #zoom(view) {
    this.view = view;
    this.#render();
    this.told.textContent = view ? "Zoomed in." : "All is shown.";
  }

  #place({ clientX, clientY }) {
    const box = this.svgElement.getBoundingClientRect();
    return [clientX - box.left, clientY - box.top];
  }

  #pressed(event) {
    const [x, y] = this.#place(event);
    this.moved = false;
    const drags = this.zooms === "all" || (this.zooms === "mouse" && event.pointerType !== "touch");
    if (this.frame && drags && event.button === 0) this.dragging = { x, y, box: null };
    if (this.frame && event.pointerType === "touch") this.#point(this.#nearest(x, y));
  }

  #moved(event) {
    if (!this.frame) return;
    const [x, y] = this.#place(event), from = this.dragging;
    if (!from) return this.#point(this.#nearest(x, y));
    if (!from.box && Math.hypot(x - from.x, y - from.y) < 6) return;
    const { left, right, top, bottom } = this.frame, inside = (value, low, high) => Math.max(low, Math.min(value, high));
    const sort = (a, b) => [Math.min(a, b), Math.max(a, b)];
    from.box = { x: sort(...[from.x, x].map((v) => inside(v, left, right))), y: sort(...[from.y, y].map((v) => inside(v, top, bottom))) };
    if (!this.moved) this.svgElement.setPointerCapture(event.pointerId);
    this.moved = true;
    this.#point(null);
    const [[x0, x1], [y0, y1]] = [from.box.x, from.box.y];
    this.over.replaceChildren(el("rect", { x: x0, y: y0, width: x1 - x0, height: y1 - y0, fill: "var(--accent)", "fill-opacity": 0.15, stroke: "var(--accent)" }));
  }

  #released() {
    const box = this.dragging?.box, { X, Y } = this.frame ?? {};
    this.#stopDragging();
    if (box && box.x[1] - box.x[0] > 5 && box.y[1] - box.y[0] > 5)
      this.#zoom({ x: box.x.map(X.back), y: box.y.toReversed().map(Y.back) });
  }

  #stopDragging() {
    this.dragging = null;
    this.over?.replaceChildren();
  }

  #clicked(event) {
    const href = this.at?.point?.href;
    if (!href || this.moved) return;
    if (event.ctrlKey || event.metaKey) window.open(href);
    else location.assign(href);
  }
}

// The entry of a legend, which hides and shows a line.
export const legendButton = ({ name, ...entry }, shown, onclick) =>
  el("button", { type: "button", "aria-pressed": String(shown), onclick },
    el("svg", { width: 22, height: 10, "aria-hidden": "true" }, swatch(entry, 1, 5, 20)), name);

const swatch = ({ color, dash, opacity, wide = 3 }, x, y, length) =>
  el("path", { d: `M${x} ${y}h${length}`, stroke: color, "stroke-width": wide, "stroke-dasharray": dash, "stroke-opacity": opacity });

const round = (value) => Math.round(10 * value) / 10;

// From values to pixels; back() is the way back.
function scale(log, low, high, from, to) {
  const there = log ? Math.log10 : (value) => value, start = there(low), each = (to - from) / (there(high) - start || 1);
  const pixels = (value) => from + (there(value) - start) * each;
  pixels.back = (pixel) => (log ? 10 ** (start + (pixel - from) / each) : start + (pixel - from) / each);
  return pixels;
}

// Of the points from start to end, the indices of the lowest and the highest in each pixel column, of the first and the last.
function thin(x, y, start, end, X) {
  const kept = [];
  let column = NaN, low = start, high = start;
  const keep = (i) => kept[kept.length - 1] === i || kept.push(i);
  const flush = () => {
    keep(Math.min(low, high));
    keep(Math.max(low, high));
  };
  keep(start);
  for (let i = start + 1; i < end - 1; i++) {
    const now = Math.floor(X(x[i]));
    if (now !== column) {
      if (column === column) flush();
      [column, low, high] = [now, i, i];
    } else if (y[i] < y[low]) low = i;
    else if (y[i] > y[high]) high = i;
  }
  if (column === column) flush();
  keep(end - 1);
  return kept;
}

// The index of the first value that is not below `value`, in ascending values; and of the nearest.
function bisect(values, value) {
  let low = 0, high = values.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (values[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low;
}
function nearest(values, value) {
  const i = bisect(values, value);
  return i > 0 && (i === values.length || value - values[i - 1] <= values[i] - value) ? i - 1 : i;
}
