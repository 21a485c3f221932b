// Parallel coordinates: an axis for each setting and result, a line for each row, and brushes that choose among them.
//
//   const plot = new Parallel(element, { axes: [{ label, values, format }], title, changed: (passes) => ... });
//   plot.draw(colors);    colors: Map from the number of a row to its colour; the others are grey
//
// values are those of all rows: numbers, words or null. A brush is dragged along an axis, or moved by its two handles,
// which are sliders for keys and screen readers. changed is told which rows lie within all brushes.

import { ticks, number } from "chart";
import { el } from "dom";

const SPACE = 112; // pixels between two axes, at least
const LEFT = 80, RIGHT = 64;
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
    const count = this.axes.length, width = Math.max(space, SPACE * count);
    this.top = 44;
    this.bottom = height - 18;
    this.x = (i) => LEFT + (i * (width - LEFT - RIGHT)) / Math.max(1, count - 1);
    this.y = (place) => this.bottom - place * (this.bottom - this.top);
    const room = Math.floor(((width - LEFT - RIGHT) / Math.max(1, count - 1)) / 7.2);
    this.handles = this.axes.map((axis, i) => [0, 1].map((end) => this.#handle(axis, i, end)));
    this.shades = this.axes.map((_, i) => el("rect", { x: this.x(i) - 7, width: 14, rx: 3, fill: "var(--accent)", "fill-opacity": 0.22, "pointer-events": "none" }));
    const axes = this.axes.map((axis, i) => el("g", {},
      el("path", { d: `M${this.x(i)} ${this.top}V${this.bottom}`, stroke: "var(--faint)" }),
      el("text", { x: this.x(i), y: 18, "text-anchor": "middle", "font-weight": 600, fill: "var(--ink)" },
        cut(axis.label, room), el("title", {}, axis.label)),
      axis.marks.map(([place, text]) => el("text", { class: "mark", x: this.x(i) + (i === count - 1 ? 10 : -10), y: this.y(place), dy: ".35em",
        "text-anchor": i === count - 1 ? "start" : "end" }, cut(text, i ? room - 3 : 9), el("title", {}, text))),
      el("rect", { class: "reach", x: this.x(i) - 16, y: this.top - 10, width: 32, height: this.bottom - this.top + 20, fill: "transparent",
        onpointerdown: (event) => this.#grab(event, i), ondblclick: () => this.#set(i, [0, 1]) }),
      this.shades[i], this.handles[i]));
    this.picture.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.picture.setAttribute("width", width);
    this.picture.replaceChildren(this.lines, ...axes);
    this.#drawBrushes();
    this.#drawLines();
  }

  #handle({ label }, axis, end) {
    return el("path", {
      class: "handle", role: "slider", tabindex: 0, "aria-orientation": "vertical", "aria-valuemin": 0, "aria-valuemax": 100,
      "aria-label": `${label}, ${end ? "highest" : "lowest"} shown`, fill: "var(--paper)", stroke: "var(--faint)",
      onkeydown: (event) => this.#key(event, axis, end), onpointerdown: (event) => this.#grab(event, axis, end),
    });
  }

  #drawLines() {
    if (!this.x) return;
    const path = (row) => `M${this.axes.map(({ places }, i) => `${Math.round(this.x(i))} ${Math.round(10 * this.y(places[row])) / 10}`).join("L")}`;
    const passing = this.rows.filter((row) => this.passes(row)), plain = passing.filter((row) => !this.colors.has(row));
    const strong = Math.max(0.12, Math.min(0.8, 60 / plain.length));
    this.lines.replaceChildren(
      el("path", { d: plain.map(path).join(""), stroke: "var(--series-8)", "stroke-opacity": strong }),
      ...passing.filter((row) => this.colors.has(row)).reverse().map((row) => el("path", { d: path(row), stroke: this.colors.get(row), "stroke-width": 2.2 })));
  }

  #drawBrushes() {
    this.brushes.forEach(([low, high], i) => {
      const x = this.x(i), whole = low <= 0 && high >= 1, { marks, telling } = this.axes[i];
      this.shades[i].setAttribute("y", this.y(high));
      this.shades[i].setAttribute("height", whole || !marks.length ? 0 : Math.max(2, this.y(low) - this.y(high)));
      [low, high].forEach((place, end) => {
        const y = this.y(place), away = end ? -8 : 8, handle = this.handles[i][end];
        handle.setAttribute("d", `M${x} ${y}l-6 ${away}h12Z`);
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
  const known = values.filter((value) => value !== null), isScale = known.length && known.every((value) => typeof value === "number");
  const different = [...new Set(known)].sort((a, b) => (isScale ? a - b : String(a).localeCompare(String(b))));
  const low = different[0], high = different[different.length - 1], log = isScale && low > 0 && high / low >= 20;
  const measure = log ? Math.log : (value) => value, floor = known.length < values.length ? 0.12 : 0; // null lies below
  const from = isScale && low < high ? measure(low) : 0, to = isScale && low < high ? measure(high) : different.length - 1;
  const place = (value) => {
    if (value === null) return 0;
    const at = isScale && low < high ? measure(value) : different.indexOf(value);
    return 0.03 + floor + (0.94 - floor) * (to > from ? (at - from) / (to - from) : 0.5);
  };
  const round = isScale && different.length > FEW ? ticks(low, high, 6, log) : different.map((value) => ({ value }));
  const tell = (value, step) => (typeof value === "number" ? format(value, step) : String(value));
  const marks = round.map(({ value, step }) => [place(value), tell(value, step)]);
  if (floor) marks.push([0, "–"]);
  const stops = [...(floor ? [0] : []), ...different.map(place)];
  const telling = (at) => {
    const nearest = [...different, ...(floor ? [null] : [])].reduce((a, b) => (Math.abs(place(b) - at) < Math.abs(place(a) - at) ? b : a));
    return nearest === null ? "none" : tell(nearest);
  };
  return { label, places: values.map(place), marks, stops, telling };
}
