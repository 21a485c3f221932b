// Values as pictures: a colour for each, and sheets of many small images.
import { el, short } from "dom";

const BEND = 0.7; // half as large is 0.62 of the colour, as in the legend of style.css

// What the theme is now: colour tables of 256 (ink) and 511 (signed) values, as the bytes of a canvas.
let tables = null;
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => (tables = null));

function palette() {
  if (tables) return tables;
  const style = getComputedStyle(document.documentElement);
  const rgb = (name) => [1, 3, 5].map((i) => parseInt(style.getPropertyValue(name).trim().slice(i, i + 2), 16));
  const [paper, ink, zero, positive, negative] = ["--paper", "--ink", "--good", "--positive", "--negative"].map(rgb);
  const mixed = (from, to, part) => from.reduce((all, value, i) => all | (Math.round(value + (to[i] - value) * part) << (8 * i)), 255 << 24);
  tables = {
    ink: Uint32Array.from({ length: 256 }, (_, i) => mixed(paper, ink, i / 255)),
    // Not straight: most values are small beside the largest. The legend is bent in the same way.
    signed: Uint32Array.from({ length: 511 }, (_, i) => mixed(zero, i < 255 ? negative : positive, (Math.abs(i - 255) / 255) ** BEND)),
  };
  return tables;
}

// Tiles of an image side by side in `columns`, with a gap of one pixel, one pixel a value.
function paintTiles(canvas, [tiles, height, width], columns, colour) {
  const gap = tiles > 1 && height * width > 1 ? 1 : 0, rows = Math.ceil(tiles / columns);
  const wide = columns * (width + gap) - gap, high = rows * (height + gap) - gap;
  if (canvas.width !== wide) canvas.width = wide;
  if (canvas.height !== high) canvas.height = high;
  const picture = new ImageData(wide, high), pixels = new Uint32Array(picture.data.buffer);
  for (let tile = 0, i = 0; tile < tiles; tile++) {
    let at = Math.floor(tile / columns) * (height + gap) * wide + (tile % columns) * (width + gap);
    for (let y = 0; y < height; y++, at += wide) for (let x = 0; x < width; x++) pixels[at + x] = colour(i++);
  }
  canvas.getContext("2d").putImageData(picture, 0, 0);
}

// An image of bytes, 0 paper and 255 ink.
export function paintInk(canvas, values, shape) {
  const { ink } = palette();
  paintTiles(canvas, shape, 1, (i) => ink[values[i]]);
}

// The scale for values: a round number that none exceeds, so that it does not change with every stroke.
export function roundScale(...arrays) {
  let most = 0;
  for (const values of arrays) for (const value of values) most = Math.max(most, Math.abs(value));
  if (!(most > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(most));
  return [1, 1.5, 2, 3, 5, 7, 10].find((factor) => factor * power >= most * 0.999) * power;
}

// Images of signed values, [tiles, height, width], that fit the width there is: `zoom` pixels a value, up to twice as
// many where all tiles fit in one row. Where `pick` is given one chooses a value by pointer or arrow keys: pick(index).
export function sheet({ shape, zoom: least, label, columns: fixed, pick, describe }) {
  const [tiles, height, width] = shape, gap = tiles > 1 && height * width > 1 ? 1 : 0;
  const canvas = el("canvas", { class: "x-sheet", role: pick ? "application" : "img", tabindex: pick ? 0 : null, "aria-label": label });
  const mark = el("div", { class: "x-mark", hidden: true });
  const said = pick && el("span", { class: "unseen", "aria-live": "polite" });
  const element = el("div", { class: "x-holder" }, canvas, mark, said);
  let columns = fixed ?? tiles, zoom = least, values = null, scale = 1, chosen = null;

  function layout() {
    const room = element.parentElement?.clientWidth || 320, row = tiles * (width + gap) - gap;
    const before = `${columns} ${zoom}`;
    if (!fixed) {
      zoom = Math.max(least, Math.min(2 * least, Math.floor(room / row)));
      columns = Math.max(1, Math.min(tiles, Math.floor((room / zoom + gap) / (width + gap))));
    }
    if (before === `${columns} ${zoom}` && canvas.style.width) return;
    canvas.style.width = `${zoom * (columns * (width + gap) - gap)}px`;
    if (values) paint();
    place();
  }

  function paint() {
    const { signed } = palette(), factor = 255 / scale;
    paintTiles(canvas, shape, columns, (i) => signed[255 + Math.max(-255, Math.min(255, Math.round(values[i] * factor))) || 255]);
  }

  function position(index) {
    const tile = Math.floor(index / (height * width)), inside = index % (height * width);
    return [
      (tile % columns) * (width + gap) + (inside % width),
      Math.floor(tile / columns) * (height + gap) + Math.floor(inside / width),
    ];
  }

  function place() {
    mark.hidden = chosen === null;
    if (chosen === null) return;
    const [x, y] = position(chosen);
    Object.assign(mark.style, { left: `${x * zoom}px`, top: `${y * zoom}px`, width: `${zoom}px`, height: `${zoom}px` });
  }

  function choose(index) {
    chosen = index;
    place();
    if (said) said.textContent = describe?.(index, values?.[index]) ?? short(values?.[index]);
    pick(index);
  }

  if (pick) {
    canvas.addEventListener("click", (event) => {
      const box = canvas.getBoundingClientRect();
      const x = Math.floor(((event.clientX - box.left) / box.width) * canvas.width);
      const y = Math.floor(((event.clientY - box.top) / box.height) * canvas.height);
      const tile = Math.floor(y / (height + gap)) * columns + Math.floor(x / (width + gap));
      const row = Math.min(height - 1, y % (height + gap)), column = Math.min(width - 1, x % (width + gap));
      if (tile < tiles) choose((tile * height + row) * width + column);
    });
    canvas.addEventListener("keydown", (event) => {
      const area = height * width, down = area > 1 ? width : columns;
      const moves = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -down, ArrowDown: down, PageUp: -area, PageDown: area };
      if (event.key !== "Enter" && !(event.key in moves)) return;
      event.preventDefault();
      choose(Math.min(tiles * area - 1, Math.max(0, chosen === null ? 0 : chosen + (moves[event.key] ?? 0))));
    });
  }
  new ResizeObserver(layout).observe(element);
  requestAnimationFrame(layout);
  return {
    element,
    draw(now, by = roundScale(now)) {
      values = now;
      scale = by;
      if (!canvas.style.width) layout();
      paint();
    },
    unmark() {
      chosen = null;
      place();
    },
  };
}

// What the colours of a sheet mean.
export function legend() {
  const low = el("span"), high = el("span");
  const element = el("span", { class: "x-legend" }, low, el("span", { class: "x-scale", "aria-hidden": "true" }), high);
  return {
    element,
    draw(scale, negative = true) {
      low.textContent = negative ? `−${short(scale)}` : "0";
      high.textContent = `+${short(scale)}`;
      element.classList.toggle("x-half", !negative);
    },
  };
}
