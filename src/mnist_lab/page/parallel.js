// Parallel coordinates: an axis for each setting and result, a line for each row, and brushes that choose among them.
//
//   const plot = new Parallel(element, { axes: [{ label, values, format }], title, changed: (passes) => ... });
//   plot.draw(colors);    colors: Map from the number of a row to its colour; the others are grey
//
// values are those of all rows: numbers, words or null. A brush is dragged along an axis, or moved by its two handles,
// which are sliders for keys and screen readers. changed is told which rows lie within all brushes.

import { number, ticks, unit } from "axis";
import { el } from "dom";

const SPACE = 112; // pixels between two axes, at least
const RIGHT = 64, LETTER = 7.2;
const FEW = 8; // as many different values are all written beside their axis

export class Parallel {
  constructor(element, { axes, title, changed }) {
    Object.assign(this, { axes: axes.map(prepared), changed, colors: new Map() });
    this.brushes = axes.map(() => [0, 1]);
    this.rows = [...axes[0].values.keys()];
    this.picture = el("svg", { role: "group", "aria-label": title });
    this.lines = el("g", { fill: "none", "stroke-linejoin": "round", "aria-hidden": "true" });
    this.element = el("div", { class: "parallel" }, this.picture);
    element.append(this.element);
    new ResizeObserver(([{ contentRect }]) => this.#layOut(contentRect)).observe(this.element);
  }

  draw(colors) {
    this.colors = colors;
    this.#drawLines();
  }

  // Take all brushes away.
  reset() {
    this.brushes = this.axes.map(() => [0, 1]);
    this.#brushed();
  }

  passes(row) {
    return this.axes.every(({ places }, i) => {
      const [low, high] = this.brushes[i];
      return (low <= 0 && high >= 1) || (places[row] >= low - 1e-9 && places[row] <= high + 1e-9);
    });
  }

  #layOut({ width: space, height }) {
    if (!space) return;
    const one = unit(), letter = LETTER * one;
    const count = this.axes.length, width = Math.max(space, SPACE * one * count);
    const left = 24 * one + letter * Math.min(18, Math.max(...this.axes[0].marks.map(([, text]) => text.length)));
    const apart = (width - left - RIGHT * one) / Math.max(1, count - 1), room = Math.floor(apart / letter);
    this.one = one;
    this.top = 44 * one;
    this.bottom = height - 18 * one;
    this.x = (i) => left + i * apart;
    this.y = (place) => this.bottom - place * (this.bottom - this.top);
    this.handles = this.axes.map((axis, i) => [0, 1].map((end) => this.#handle(axis, i, end)));
    const shade = { width: 14 * one, rx: 3, fill: "var(--accent)", "fill-opacity": 0.22, "pointer-events": "none" };
    this.shades = this.axes.map((_, i) => el("rect", { x: this.x(i) - 7 * one, ...shade }));
    const axes = this.axes.map(({ label, marks }, i) => {
      const x = this.x(i), aside = (i === count - 1 ? 10 : -10) * one, anchor = aside > 0 ? "start" : "end";
      const reach = { x: x - 16, y: this.top - 10 * one, width: 32, height: this.bottom - this.top + 20 * one };
      return el("g", {},
        el("path", { d: `M${x} ${this.top}V${this.bottom}`, stroke: "var(--faint)" }),
        el("text", { class: "axis", x, y: 18 * one, "text-anchor": "middle" },
          cut(label, room), el("title", {}, label)),
        marks.map(([place, text]) =>
          el("text", { class: "mark", x: x + aside, y: this.y(place) + 4 * one, "text-anchor": anchor },
            cut(text, i ? room - 3 : 18), el("title", {}, text))),
        el("rect", { class: "reach", ...reach, onpointerdown: (event) => this.#grab(event, i) }),
        this.shades[i], this.handles[i]);
    });
    this.picture.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.picture.setAttribute("width", width);
    this.picture.replaceChildren(this.lines, ...axes);
    this.#drawBrushes();
    this.#drawLines();
  }

  #handle({ label }, axis, end) {
    return el("path", {
      class: "handle", role: "slider", tabindex: 0, "aria-label": `${label}, ${end ? "highest" : "lowest"} shown`,
      "aria-orientation": "vertical", "aria-valuemin": 0, "aria-valuemax": 100,
      onkeydown: (event) => this.#key(event, axis, end), onpointerdown: (event) => this.#grab(event, axis, end),
    });
  }

  #drawLines() {
    if (!this.x) return;
    const at = (row) => ({ places }, i) => `${Math.round(this.x(i))} ${this.y(places[row]).toFixed(1)}`;
    const path = (row) => `M${this.axes.map(at(row)).join("L")}`;
    const passing = this.rows.filter((row) => this.passes(row)), grey = passing.filter((row) => !this.colors.has(row));
    const strength = Math.max(0.12, Math.min(0.8, 60 / grey.length));
    this.lines.replaceChildren(
      el("path", { d: grey.map(path).join(""), stroke: "var(--series-8)", "stroke-opacity": strength }),
      ...passing.filter((row) => this.colors.has(row)).reverse().map((row) =>
        el("path", { d: path(row), stroke: this.colors.get(row), "stroke-width": 2.2 * this.one })));
  }

  #drawBrushes() {
    this.brushes.forEach(([low, high], i) => {
      const x = this.x(i), whole = low <= 0 && high >= 1, { marks, telling } = this.axes[i];
      this.shades[i].setAttribute("y", this.y(high));
      this.shades[i].setAttribute("height", whole || !marks.length ? 0 : Math.max(2, this.y(low) - this.y(high)));
      [low, high].forEach((place, end) => {
        const y = this.y(place), away = end ? -8 : 8, handle = this.handles[i][end];
        handle.setAttribute("d", `M${x} ${y}l${-6 * this.one} ${away * this.one}h${12 * this.one}Z`);
        handle.setAttribute("aria-valuenow", Math.round(100 * place));
        handle.setAttribute("aria-valuetext", telling(place));
      });
    });
  }

  #set(axis, [low, high]) {
    const inside = (place) => Math.max(0, Math.min(1, place));
    this.brushes[axis] = [inside(Math.min(low, high)), inside(Math.max(low, high))];
    this.#brushed();
  }

  #brushed() {
    this.#drawBrushes();
    this.changed(this.rows.filter((row) => this.passes(row)));
  }

  #grab(event, axis, end) {
    if (event.button !== 0) return;
    const target = event.currentTarget, box = this.picture.getBoundingClientRect();
    const place = ({ clientY }) => (this.bottom - (clientY - box.top)) / (this.bottom - this.top);
    const from = end === undefined ? place(event) : this.brushes[axis][1 - end];
    let moved = false;
    const move = (now) => {
      moved ||= Math.abs(now.clientY - event.clientY) > 3;
      if (moved) this.#set(axis, [from, place(now)]);
    };
    const stop = () => {
      target.removeEventListener("pointermove", move);
      if (!moved && end === undefined) this.#set(axis, [0, 1]); // a click takes the brush away
    };
    target.setPointerCapture(event.pointerId);
    target.addEventListener("pointermove", move);
    target.addEventListener("pointerup", stop, { once: true });
    target.addEventListener("pointercancel", stop, { once: true });
  }

  // A handle goes from value to value, and to both ends of the axis.
  #key(event, axis, end) {
    const stops = [0, ...this.axes[axis].stops, 1], now = this.brushes[axis][end];
    const many = Math.max(1, Math.round(stops.length / 10)), up = stops.findIndex((place) => place > now + 1e-9);
    const above = up < 0 ? stops.length : up, below = stops.findLastIndex((place) => place < now - 1e-9);
    const go = { ArrowUp: above, ArrowRight: above, ArrowDown: below, ArrowLeft: below,
      PageUp: above + many, PageDown: below - many, Home: 0, End: stops.length - 1 }[event.key];
    if (event.key === "Escape") this.#set(axis, [0, 1]);
    else if (go === undefined) return;
    else {
      const place = stops[Math.max(0, Math.min(go, stops.length - 1))], [low, high] = this.brushes[axis];
      this.#set(axis, end ? [low, Math.max(low, place)] : [Math.min(high, place), high]);
    }
    event.preventDefault();
  }
}

const cut = (text, most) => (text.length > most ? `${text.slice(0, Math.max(1, most - 1))}…` : text);

// An axis with the place of each row, 0 at the bottom to 1; the texts beside it; and what a place is called.
function prepared({ label, values, format = number }) {
  const known = values.filter((value) => value !== null), isScale = known.every((value) => typeof value === "number");
  const order = isScale ? (a, b) => a - b : (a, b) => String(a).localeCompare(String(b), "en", { numeric: true });
  const different = [...new Set(known)].sort(order), low = different[0], high = different[different.length - 1];
  const log = isScale && low > 0 && high / low >= 20, unset = known.length < values.length;
  const measure = !isScale ? (value) => different.indexOf(value) : log ? Math.log : (value) => value;
  const from = measure(low), to = measure(high), bottom = unset ? 0.15 : 0.03; // what is not set lies below
  const place = (value) => {
    if (value === null) return 0;
    return bottom + (0.97 - bottom) * (to > from ? (measure(value) - from) / (to - from) : 0.5);
  };
  const tell = (value, step) => (typeof value === "number" ? format(value, step) : String(value));
  const round = isScale && different.length > FEW ? ticks(low, high, 6, log) : different.map((value) => ({ value }));
  const marks = round.map(({ value, step }) => [place(value), tell(value, step)]);
  const all = [...(unset ? [null] : []), ...different];
  const telling = (at) => {
    const value = all.reduce((a, b) => (Math.abs(place(b) - at) < Math.abs(place(a) - at) ? b : a));
    return value === null ? "not set" : tell(value);
  };
  if (unset) marks.push([0, "–"]);
  return { label, places: values.map(place), marks, stops: all.map(place), telling };
}
