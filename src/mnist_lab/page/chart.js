// Charts in SVG: lines with bands, stacked areas and points, on linear or logarithmic axes.
//
//   const chart = new Chart(element, { title: "accuracy", x: { label: "step" }, y: { label: "%", format: percents } });
//   chart.draw({ lines: [{ name: "validation", x: [0, 10], y: [0.1, 0.9] }] });
//
// An axis takes label, log, integer (no ticks between whole numbers), min, max and format(value, step): step is the
// distance of two ticks, or undefined where a single value is told as exactly as it should be.
// draw takes, all of them optional:
//   lines   [{ name, color, dash, width, x, y, low, high, mark }]; low and high: a band; mark: a word at its end
//   areas   [{ name, color, opacity, x, low, high }]
//   points  [{ name, label, color, size, x, y, error, hollow, href }]; label: what it is called under the cursor
//   cursor  the x of a vertical line
//   range   { x: [low, high], y: [low, high] }: what to show until somebody zooms
// Lines lie in their order, the last on top, or with firstOnTop the first; legend: false leaves the legend to the page.
// The x of a line ascend; null and NaN in y are gaps. What has a name is in the legend and is told under the cursor.

import { nearest, number, scale, thin, ticks, unit } from "axis";
import { el } from "dom";

export { number, percents } from "axis";

const SERIES = 8;
const MOST_TOLD = 12; // values under the cursor
const KEYS = "Arrow keys read the values, plus and minus zoom, Escape leaves.";
let charts = 0;

// The colour of the series with this index.
export const series = (index) => `var(--series-${(index % SERIES) + 1})`;

export class Chart {
  constructor(element, { title = "", x = {}, y = {}, legend = true, firstOnTop = false } = {}) {
    Object.assign(this, { element, title, x, y, firstOnTop, data: {}, id: `chart-${++charts}`, hidden: new Set() });
    Object.assign(this, { view: null, at: null, dragging: null, zooms: "mouse" });
    this.svgElement = el("svg", {
      role: "img", tabindex: 0, "aria-roledescription": "chart", "aria-describedby": `${this.id}-keys`,
      onpointermove: (event) => this.#moved(event), onpointerdown: (event) => this.#pressed(event),
      onpointerup: (event) => this.#released(event), onpointercancel: () => this.#stopDragging(),
      onpointerleave: () => this.dragging || this.#point(null), ondblclick: () => this.reset(),
      onclick: (event) => this.#clicked(event), onkeydown: (event) => this.#key(event), onblur: () => this.#point(null),
    });
    this.back = el("button", { type: "button", class: "chart-back", onclick: () => this.reset() }, "Show all");
    this.tip = el("div", { class: "chart-tip", hidden: true });
    this.told = el("p", { class: "unseen", "aria-live": "polite" });
    this.legend = legend && el("div", { class: "chart-legend", role: "group", "aria-label": "Lines shown" });
    this.plot = el("div", { class: "chart-plot" }, this.svgElement, this.tip, this.back);
    element.classList.add("chart");
    const parts = [title && el("div", { class: "chart-title" }, title), this.plot, this.legend, this.told];
    element.replaceChildren(...parts.filter(Boolean), el("p", { class: "unseen", id: `${this.id}-keys` }, KEYS));
    this.size = { width: 0, height: 0 }; // until all of the page is laid out, once
    new ResizeObserver(([{ contentRect }]) => {
      this.size = contentRect;
      this.unit = unit();
      this.#render();
    }).observe(this.plot);
  }

  draw(data) {
    const colored = (kind) => (data[kind] ?? []).map((one, i) => ({ ...one, color: one.color ?? series(i) }));
    this.given = data;
    this.data = { ...data, lines: colored("lines"), areas: colored("areas"), points: colored("points") };
    this.#drawLegend();
    this.#render();
    this.svgElement.setAttribute("aria-label", this.#sentence());
  }

  // Hide what has this name, or show it again.
  toggle(name) {
    if (!this.hidden.delete(name)) this.hidden.add(name);
    this.draw(this.given);
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
    const copy = this.svgElement.cloneNode(true), legend = [];
    copy.querySelector(".chart-cursor").remove();
    let left = 0, below = above + height;
    const entries = this.#named().filter(({ name }) => !this.hidden.has(name));
    const longest = Math.max(...entries.map(({ name }) => name.length));
    const size = Math.min(font, (width - 3.5 * font) / (0.58 * longest)); // long names get small letters
    for (const entry of entries.length > 1 ? entries : []) {
      const wide = 3.5 * font + 0.58 * size * entry.name.length;
      if (!legend.length || left + wide > width) [left, below] = [font / 2, below + line];
      const place = { x: left + 2.1 * font, y: below - line / 2, dy: ".35em" };
      legend.push(
        swatch(entry, left, place.y, 1.6 * font),
        el("text", { ...place, "font-size": size, fill: "var(--ink)" }, entry.name));
      left += wide;
    }
    const all = { width, height: below + font / 2 }, bold = { "font-weight": 600, "font-size": 1.1 * font };
    const picture = el(
      "svg",
      { ...all, viewBox: `0 0 ${width} ${all.height}`, "font-size": font, "font-family": "system-ui, sans-serif" },
      el("title", {}, this.#sentence()), el("rect", { ...all, fill: "var(--paper)" }),
      el("text", { ...bold, x: 0.2 * font, y: 1.3 * font, fill: "var(--ink)" }, this.title),
      el("g", { transform: `translate(0 ${above})` }, ...copy.childNodes), legend);
    const colors = getComputedStyle(this.element), text = new XMLSerializer().serializeToString(picture);
    return text.replace(/var\((--[\w-]+)\)/g, (_, name) => colors.getPropertyValue(name).trim());
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
      for (const { name, color, dash, opacity } of this.data[kind])
        if (name && !found.has(name)) found.set(name, { name, color, dash, opacity, wide: kind === "areas" ? 10 : 3 });
    return [...found.values()];
  }

  #drawLegend() {
    if (!this.legend) return;
    const entries = this.#named(), said = JSON.stringify([entries, [...this.hidden]]);
    if (said === this.said) return; // a button that is in use stays the same element
    this.said = said;
    const focused = [...this.legend.children].indexOf(document.activeElement);
    const button = (entry) => legendButton(entry, !this.hidden.has(entry.name), () => this.toggle(entry.name));
    const buttons = entries.map(button);
    this.legend.replaceChildren(...(entries.length > 1 ? buttons : []));
    if (focused >= 0) buttons[focused]?.focus();
  }

  // What the chart shows, for those who cannot see it.
  #sentence() {
    const told = this.#shown("lines").filter(({ name }) => name).map(({ name, x, y, mark }) => {
      const last = y.findLastIndex((value) => Number.isFinite(value));
      if (last < 0) return `${name}: no value`;
      return `${name}: ${this.#tell("y", y[last])} at ${this.#tellX(x[last])}${mark ? ` (${mark})` : ""}`;
    });
    const points = this.#shown("points"), areas = this.#shown("areas").map(({ name }) => name).filter(Boolean);
    if (areas.length) told.push(`areas: ${areas.join(", ")}`);
    if (points.length) {
      const { label, name, x, y } = points.reduce((a, b) => (b.y > a.y ? b : a));
      const where = `${this.#tell("y", y)} at ${this.#tellX(x)}`;
      told.push(`${points.length} points, the highest: ${label ?? name ?? "one"} with ${where}`);
    }
    const axes = this.y.label && this.x.label ? ` (${this.y.label} against ${this.x.label})` : "";
    return `${this.title || "Chart"}${axes}. ${told.join("; ") || "nothing to show yet"}.`;
  }

  #tell(axis, value, step) {
    return (this[axis].format ?? number)(value, step);
  }

  #tellX(value) {
    return `${this.x.label ?? "x"} ${this.#tell("x", value)}`;
  }

  // ---- drawing ----

  #limits(axis) {
    const { log, min, max } = this[axis];
    if (this.view) return this.view[axis];
    const range = this.data.range?.[axis];
    if (range && !(log && range[0] <= 0)) return range; // what is not above zero has no place on a logarithmic axis
    let low = Infinity, high = -Infinity;
    const see = (value) => {
      if (!Number.isFinite(value) || (log && value <= 0)) return;
      if (value < low) low = value;
      if (value > high) high = value;
    };
    for (const line of [...this.#shown("lines"), ...this.#shown("areas")])
      for (const values of axis === "x" ? [line.x] : [line.y, line.low, line.high])
        for (const value of values ?? []) see(value);
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
    const least = Math.min(width, 1.6 * height) / this.unit; // a chart grows with its page, and a little with its size
    const font = this.unit * Math.max(11.5, Math.min(20, 10.8 + least / 260)), stroke = font / 7;
    const axes = this.#drawAxes(width, height, font), { left, right, top, bottom, X } = this.frame;
    const inside = { x: left - font / 2, y: top - font / 2, width: right - left + font, height: bottom - top + font };
    const clip = el("defs", {}, el("clipPath", { id: this.id }, el("rect", inside)));
    const joints = { "stroke-linejoin": "round", "stroke-linecap": "round" }, ends = [];
    const marks = el("g", { "clip-path": `url(#${this.id})`, fill: "none", ...joints });
    const add = (tag, attributes) => marks.append(el(tag, attributes));
    for (const { color, opacity = 1, x, low, high } of this.#shown("areas"))
      add("path", { d: this.#band(x, low, high), fill: color, "fill-opacity": opacity });
    const [lines, points] = ["lines", "points"].map((kind) => this.#shown(kind));
    if (this.firstOnTop) [lines, points].forEach((drawn) => drawn.reverse());
    for (const { color, x, low, high } of lines)
      if (low) add("path", { d: this.#band(x, low, high), fill: color, "fill-opacity": 0.16 });
    for (const { color, dash, width: wide = 1, x, y, mark } of lines) {
      const { d, single, last } = this.#path(x, y);
      add("path", { d, stroke: color, "stroke-width": stroke * wide, "stroke-dasharray": dash });
      for (const [cx, cy] of single) add("circle", { cx, cy, r: 1.8 * stroke, fill: color });
      if (mark && last) ends.push(this.#end(mark, color, ...last));
    }
    for (const point of points) marks.append(...this.#dot(point, stroke));
    if (Number.isFinite(this.data.cursor)) {
      const dotted = { "stroke-width": stroke * 0.8, "stroke-dasharray": `${stroke} ${2 * stroke}` };
      add("path", { d: `M${crisp(X(this.data.cursor))} ${top}V${bottom}`, stroke: "var(--ink)", ...dotted });
    }
    this.over = el("g", { class: "chart-cursor", fill: "none" });
    this.svgElement.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.svgElement.setAttribute("font-size", font);
    this.svgElement.replaceChildren(clip, ...axes, marks, ...ends, this.over);
    this.back.hidden = !this.view;
    this.plot.style.setProperty("--chart-font", `${font}px`);
    this.#showCursor();
  }

  // The elements of both axes, and the frame: what everything else needs to find its place.
  #drawAxes(width, height, font) {
    const top = font * (this.y.label ? 2 : 0.8), bottom = height - font * (this.x.label ? 3.1 : 1.9);
    const [yLow, yHigh] = this.#limits("y"), [xLow, xHigh] = this.#limits("x");
    const marked = (axis, low, high, most) => ticks(low, high, most, this[axis].log, this[axis].integer ? 1 : 0)
      .map(({ value, step }) => ({ value, text: this.#tell(axis, value, step) }));
    const longest = (found) => 0.6 * font * Math.max(2, ...found.map(({ text }) => text.length));
    const yTicks = marked("y", yLow, yHigh, Math.max(2, (bottom - top) / (2.7 * font)));
    const left = longest(yTicks) + 0.8 * font, right = width - 2 * font;
    let most = (right - left) / (3 * font), xTicks = marked("x", xLow, xHigh, most);
    while (most > 1 && xTicks.length * (longest(xTicks) + 1.2 * font) > right - left) // until the labels have room
      xTicks = marked("x", xLow, xHigh, (most *= 0.8));
    const X = scale(this.x.log, xLow, xHigh, left, right), Y = scale(this.y.log, yLow, yHigh, bottom, top);
    this.frame = { width, height, font, left, right, top, bottom, X, Y, xLow, xHigh };

    const path = (d, color) => el("path", { d, stroke: `var(--${color})` });
    const text = (x, y, anchor, content, name) =>
      el("text", { x, y, class: name, "text-anchor": anchor, fill: "var(--faint)", "font-size": 0.92 * font }, content);
    return [
      ...yTicks.flatMap(({ value, text: content }) => [
        path(`M${left} ${crisp(Y(value))}H${right}`, "line"),
        text(left - 0.5 * font, Y(value) + 0.33 * font, "end", content, "y tick"),
      ]),
      ...xTicks.flatMap(({ value, text: content }) => [
        path(`M${crisp(X(value))} ${bottom}v${font / 3}`, "faint"),
        text(X(value), bottom + 1.35 * font, "middle", content, "x tick"),
      ]),
      path(`M${left} ${crisp(bottom)}H${right}`, "faint"),
      text(font * 0.2, font, "start", this.y.label ?? ""),
      text((left + right) / 2, bottom + 2.7 * font, "middle", this.x.label ?? ""),
    ];
  }

  // The path of a line, the places of points that have no neighbour, and where it ends.
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
    const height = (value) => (this.y.log && !(value > 0) ? bottom : Y(value));
    for (const [start, end] of this.#runs(x, high)) {
      const place = (values) => (i) => `${round(X(x[i]))} ${round(height(values[i]))}`;
      const along = (values) => thin(x, values, start, end, X).map(place(values));
      parts.push(`M${along(high).join("L")}L${along(low).reverse().join("L")}Z`);
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

  // A cross where a line has ended, with the word for it.
  #end(mark, color, x, y) {
    const { font, left, right, top, bottom } = this.frame, arm = font / 3.5;
    if (x < left - 1 || x > right + 1 || y < top - 1 || y > bottom + 1) return "";
    const near = x > right - 5 * font;
    const halo = { stroke: "var(--paper)", "stroke-width": font / 4, "paint-order": "stroke" };
    const cross = `M${x - arm} ${y - arm}l${2 * arm} ${2 * arm}m0 ${-2 * arm}l${-2 * arm} ${2 * arm}`;
    const place = { x: x + (near ? -1.6 : 1.6) * arm, y: y - 1.2 * arm, "text-anchor": near ? "end" : "start" };
    return el("g", {},
      el("path", { d: cross, stroke: color, "stroke-width": font / 6, fill: "none" }),
      el("text", { ...place, ...halo, fill: color, "font-size": 0.85 * font }, mark));
  }

  #dot({ color, error, hollow, size = 1, ...point }, stroke) {
    const { X, Y } = this.frame, x = X(point.x), y = Y(point.y), width = { "stroke-width": stroke * 0.7 };
    if (!Number.isFinite(x) || !Number.isFinite(y)) return [];
    const bar = `M${x} ${Y(point.y - error)}V${Y(point.y + error)}`;
    const colors = hollow ? { fill: "var(--paper)", stroke: color } : { fill: color, stroke: "var(--paper)" };
    return [
      ...(error ? [el("path", { d: bar, stroke: color, ...width })] : []),
      el("circle", { cx: x, cy: y, r: size * 2.6 * stroke, ...colors, ...width }),
    ];
  }

  // ---- the cursor ----

  #point(at) {
    this.at = at;
    this.#showCursor();
  }

  // Tell what is nearest to a pixel.
  #read(x, y) {
    this.low = y < (this.frame.top + this.frame.bottom) / 2;
    this.#point(this.#nearest(x, y));
  }

  // What to tell at the cursor: a heading, a row for each line, and all of it as a sentence.
  #rows() {
    if (!this.at) return { head: "", rows: [], text: "" };
    const { x: here, point } = this.at, rows = [];
    if (point) {
      const { color, x, y, error } = point, head = point.label ?? point.name ?? "";
      const spread = error ? ` ± ${this.#tell("y", error)}` : "";
      rows.push({ name: this.y.label, color, x, y, value: this.#tell("y", y) + spread });
      rows.push({ value: this.#tellX(x) });
      return { head, rows, text: `${head}: ${rows.map(({ value }) => value).join(", ")}` };
    }
    for (const { name, color, x, y, low, high } of this.#readable()) {
      const i = nearest(x, here), away = x[i] === here ? "" : ` at ${this.#tell("x", x[i])}`;
      const band = low && high[i] > low[i] ? `${this.#tell("y", low[i])} to ${this.#tell("y", high[i])}` : "";
      if (!y) rows.push({ name, color, value: band || this.#tell("y", low[i]), more: away });
      else
        rows.push({ name, color, x: x[i], y: y[i], value: this.#tell("y", y[i]), more: (band && ` (${band})`) + away });
    }
    rows.sort((a, b) => (b.y ?? -Infinity) - (a.y ?? -Infinity) || 0); // as they lie, the areas below
    const text = rows.map(({ name, value, more }) => `${name} ${value}${more}`).join(", ");
    return { head: this.#tellX(here), rows, text: `${this.#tellX(here)}: ${text}` };
  }

  #showCursor() {
    if (!this.frame) return;
    const { X, Y, top, bottom, left, right, font, width } = this.frame, { head, rows } = this.#rows();
    const at = this.at && X(this.at.point?.x ?? this.at.x), seen = this.at && at >= left - 1 && at <= right + 1;
    this.tip.hidden = !seen;
    if (!seen) return this.over.replaceChildren();
    const seam = { stroke: "var(--paper)", "stroke-width": font / 8 };
    const dots = rows.filter(({ y }) => Number.isFinite(y) && Number.isFinite(Y(y))).map(({ x, y, color }) =>
      el("circle", { cx: X(x), cy: Y(y), r: font / 3.2, fill: color, ...seam }));
    const line = this.at.point ? [] : [el("path", { d: `M${at} ${top}V${bottom}`, stroke: "var(--faint)" })];
    this.over.replaceChildren(...line, ...dots);
    const told = rows.slice(0, MOST_TOLD).map(({ name, color, value, more }) => el("div", {},
      color && el("i", { style: `background:${color}` }), name && `${name} `,
      el("b", {}, value), more && el("small", {}, more)));
    const others = rows.length > MOST_TOLD ? [el("div", {}, `and ${rows.length - MOST_TOLD} more`)] : [];
    this.tip.replaceChildren(el("strong", {}, head), ...told, ...others);
    const room = this.tip.offsetWidth, beside = at + font + room < width ? at + font : at - font - room;
    this.tip.style.left = `${Math.max(0, Math.min(beside, width - room))}px`;
    this.tip.style.top = this.low ? "" : `${top}px`; // where the pointer is not
    this.tip.style.bottom = this.low ? `${this.frame.height - bottom}px` : "";
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
    for (const line of this.#readable()) {
      const found = line.x[nearest(line.x, X.back(px))];
      if (x === null || Math.abs(X(found) - px) < Math.abs(X(x) - px)) x = found;
    }
    return x === null ? null : { x };
  }

  // The lines and areas that are told.
  #readable() {
    return [...this.#shown("lines"), ...this.#shown("areas").reverse()].filter(({ name, x }) => name && x.length);
  }

  // The next place to the right (1) or left (-1) of the cursor that is in sight.
  #next(direction) {
    const { xLow, xHigh } = this.frame, inside = (x) => x >= xLow && x <= xHigh;
    const points = this.#shown("points").filter(({ x }) => inside(x)).sort((a, b) => a.x - b.x || a.y - b.y);
    if (points.length) {
      const now = points.indexOf(this.at?.point), start = direction > 0 ? 0 : points.length - 1;
      return { point: points[now < 0 ? start : Math.max(0, Math.min(now + direction, points.length - 1))] };
    }
    const from = this.at?.x ?? (direction > 0 ? -Infinity : Infinity);
    const further = (value) => inside(value) && direction * (value - from) > 0;
    const ahead = this.#readable().flatMap(({ x }) => x.filter(further));
    return ahead.length ? { x: ahead.reduce((a, b) => (direction * (a - b) < 0 ? a : b)) } : this.at;
  }

  #key(event) {
    const { key, shiftKey, ctrlKey, metaKey, altKey } = event;
    if (ctrlKey || metaKey || altKey || !this.frame) return;
    if (key === "ArrowRight" || key === "ArrowLeft" || key === "Home" || key === "End") {
      if (key === "Home" || key === "End") this.at = null;
      for (let i = shiftKey ? 10 : 1; i > 0; i--) this.at = this.#next(key === "ArrowRight" || key === "Home" ? 1 : -1);
      this.low = false;
      this.#showCursor();
      this.told.textContent = this.#rows().text;
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
    const middle = this.at ? X(this.at.point?.x ?? this.at.x) : (left + right) / 2, half = factor * (right - left) / 2;
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
    if (!this.frame) return;
    const [x, y] = this.#place(event), touch = event.pointerType === "touch";
    if (touch) this.#read(x, y);
    this.moved = false;
    const zooms = this.zooms === "all" || (this.zooms === "mouse" && !touch);
    if (zooms && event.button === 0) this.dragging = { x, y, box: null };
  }

  #moved(event) {
    if (!this.frame) return;
    if (event.buttons === 0) this.dragging = null; // let go elsewhere
    const [x, y] = this.#place(event), from = this.dragging;
    if (!from) return this.#read(x, y);
    if (!from.box && Math.hypot(x - from.x, y - from.y) < 6) return;
    const { left, right, top, bottom } = this.frame;
    const within = (ends, low, high) => ends.sort((a, b) => a - b).map((at) => Math.max(low, Math.min(at, high)));
    from.box = { x: within([from.x, x], left, right), y: within([from.y, y], top, bottom) };
    if (!this.moved) this.svgElement.setPointerCapture(event.pointerId);
    this.moved = true;
    this.#point(null);
    const [[x0, x1], [y0, y1]] = [from.box.x, from.box.y], place = { x: x0, y: y0, width: x1 - x0, height: y1 - y0 };
    this.over.replaceChildren(
      el("rect", { ...place, fill: "var(--accent)", "fill-opacity": 0.15, stroke: "var(--accent)" }));
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
    el("svg", { viewBox: "0 0 22 10", "aria-hidden": "true" }, swatch(entry, 1, 5, 20)), name);

const round = (value) => Math.round(10 * value) / 10;
const crisp = (value) => Math.round(value) + 0.5; // a line of one pixel

const swatch = ({ color, dash, opacity, wide = 3 }, x, y, length) =>
  el("path", {
    d: `M${x} ${y}h${length}`, stroke: color, "stroke-width": wide, "stroke-dasharray": dash, "stroke-opacity": opacity,
  });
