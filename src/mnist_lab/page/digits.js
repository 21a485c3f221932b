// Digits in rows, mistakes first and on red, as the codelab shows them.

import { el, percent } from "dom";

const SIDE = 28;
const [BARE, LABELLED, HEIGHT] = [30, 44, 30]; // a cell's width without and with labels, and its height, in pixels of a digit
const LEGIBLE = 0.75; // pixels of the screen for one of a digit's; in smaller cells labels would only be in the way
const WORDS = { val: "validation digits", test: "test digits" };

// Fills `element` with a canvas of digits. `columns` in a row; `scale`: with a scale of accuracy at the left.
export class Mosaic {
  constructor(element, { columns, scale = false }) {
    this.columns = columns;
    this.scale = scale;
    this.canvas = el("canvas", { role: "img", "aria-label": "no digits yet" });
    this.tip = el("div", { class: "tip", hidden: true });
    this.element = element;
    element.append(this.canvas, this.tip);
    this.canvas.addEventListener("pointermove", (event) => this.point(event));
    this.canvas.addEventListener("pointerleave", () => { this.tip.hidden = true; });
    new ResizeObserver(() => this.paint()).observe(element);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { this.inked = null; this.paint(); });
  }

  // `digits`: images, labels, predictions and, where they have names, classes; `what`: as "training digits".
  draw(digits, what) {
    const { labels, predictions } = digits;
    if (this.shown?.images !== digits.images) this.inked = null;
    this.shown = digits;
    const indices = Array.from(labels.keys());
    const rank = (i) => (predictions[i] === -1 ? 2 : predictions[i] === labels[i] ? 1 : 0);
    this.order = [0, 1, 2].flatMap((wanted) => indices.filter((i) => rank(i) === wanted));
    this.correct = indices.filter((i) => rank(i) === 1).length;
    this.known = indices.filter((i) => rank(i) < 2).length;
    this.canvas.setAttribute("aria-label", this.inWords(what));
    this.paint();
  }

  inWords(what) {
    const { labels, predictions, classes } = this.shown;
    const name = (digit) => classes?.[digit] ?? digit;
    const taken = new Map();
    for (const i of this.order.slice(0, this.known - this.correct)) {
      const pair = `${name(labels[i])} taken for ${name(predictions[i])}`;
      taken.set(pair, (taken.get(pair) ?? 0) + 1);
    }
    const most = [...taken].sort((a, b) => b[1] - a[1]).slice(0, 5).map(([pair, times]) => `${pair}, ${times} times`);
    return `${what}: ${this.correct} of ${this.known} recognised. ${most.length ? `Mistakes: ${most.join("; ")}.` : ""}`;
  }

  // Ink with the digits' values as its opacity, so that any ground shines through; drawn once for the same digits.
  ink(colour) {
    if (this.inked) return this.inked;
    const { images } = this.shown;
    const count = images.length / SIDE / SIDE;
    const sheet = new OffscreenCanvas(SIDE * 40, SIDE * Math.ceil(count / 40));
    const context = sheet.getContext("2d");
    context.fillStyle = colour;
    context.fillRect(0, 0, 1, 1);
    const [red, green, blue] = context.getImageData(0, 0, 1, 1).data;
    const pixels = context.createImageData(sheet.width, sheet.height);
    for (let i = 0; i < images.length; i += 1) {
      const digit = Math.floor(i / 784);
      const x = (digit % 40) * SIDE + (i % SIDE);
      const y = Math.floor(digit / 40) * SIDE + Math.floor((i % 784) / SIDE);
      pixels.data.set([red, green, blue, images[i]], 4 * (y * sheet.width + x));
    }
    context.putImageData(pixels, 0, 0);
    this.inked = sheet;
    return sheet;
  }

  paint() {
    const [width, height] = [this.element.clientWidth, this.element.clientHeight];
    if (!this.shown || !width || !height) return;
    const ratio = devicePixelRatio;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    const context = this.canvas.getContext("2d");
    context.scale(ratio, ratio);
    paintDigits(context, this, width, height);
  }

  // Which digit is under the pointer.
  cellAt(event) {
    if (!this.place) return undefined;
    const { left, top, cell, tall, columns } = this.place;
    const box = this.canvas.getBoundingClientRect();
    const column = Math.floor((event.clientX - box.left - left) / cell);
    const row = Math.floor((event.clientY - box.top - top) / tall);
    return column < 0 || column >= columns || row < 0 ? undefined : this.order[row * columns + column];
  }

  point(event) {
    const at = this.cellAt(event);
    this.tip.hidden = at === undefined;
    if (at === undefined) return;
    const { labels, predictions, classes } = this.shown;
    const name = (digit) => (classes ? `${classes[digit]}` : String(digit));
    const guess = predictions[at] === -1 ? "not predicted yet" : `predicted ${name(predictions[at])}`;
    this.tip.textContent = `label ${name(labels[at])}, ${guess}`;
    const box = this.canvas.getBoundingClientRect();
    const x = Math.min(event.clientX - box.left + 12, box.width - 170);
    this.tip.style.transform = `translate(${Math.max(x, 0)}px, ${event.clientY - box.top + 14}px)`;
  }

  // An SVG image of what is shown, for a picture that is saved.
  href() {
    return this.canvas.toDataURL("image/png");
  }
}

function paintDigits(context, mosaic, width, height) {
  const style = getComputedStyle(mosaic.element);
  const colour = (name) => style.getPropertyValue(name).trim();
  const { shown, order } = mosaic;
  const margin = mosaic.scale ? 40 : 0;
  const most = width < 420 ? 25 : mosaic.columns;
  const columns = Math.min(most, Math.max(10, Math.ceil(Math.sqrt(1.6 * order.length))));
  const rows = Math.ceil(order.length / columns);
  const labelled = (width - margin) / columns / LABELLED > LEGIBLE;
  const wide = labelled ? LABELLED : BARE;
  const pixel = Math.min((width - margin) / (columns * wide), height / (rows * HEIGHT));
  const [cell, tall] = [pixel * wide, pixel * HEIGHT];
  const place = { left: margin, top: 0, cell, tall, columns };
  mosaic.place = place;
  const ink = mosaic.ink(colour("--ink"));
  const gap = Math.max(pixel * 0.7, 0.5);
  const inset = labelled ? ((LABELLED - BARE) / 2) * pixel : 0;
  context.clearRect(0, 0, width, height);
  context.imageSmoothingQuality = "high";
  const [good, bad] = [colour("--good"), colour("--bad")];
  const font = `700 ${Math.max(pixel * 9.5, 7)}px system-ui, sans-serif`;
  order.forEach((i, n) => {
    const [x, y] = [place.left + (n % columns) * cell, Math.floor(n / columns) * tall];
    const [label, guess] = [shown.labels[i], shown.predictions[i]];
    const mistaken = guess !== -1 && guess !== label;
    context.fillStyle = mistaken ? bad : good;
    context.fillRect(x, y, cell - gap, tall - gap);
    context.globalAlpha = guess === -1 ? 0.45 : 1;
    context.drawImage(
      ink, (i % 40) * SIDE, Math.floor(i / 40) * SIDE, SIDE, SIDE,
      x + inset + pixel / 2, y + pixel / 2, SIDE * pixel, SIDE * pixel,
    );
    context.globalAlpha = 1;
    if (labelled) {
      context.font = font;
      context.textBaseline = "bottom";
      context.fillStyle = mistaken ? colour("--ink") : colour("--faint");
      context.textAlign = "left";
      context.fillText(label, x + pixel, y + tall - gap);
      context.textAlign = "right";
      if (guess !== -1) context.fillText(guess, x + cell - gap - pixel, y + tall - gap);
    }
  });
  if (mosaic.scale) paintScale(context, margin, (order.length / columns) * tall, colour("--faint"));
}

// The mistakes come first, so they end at the height that the scale marks with the accuracy.
function paintScale(context, margin, height, colour) {
  context.fillStyle = context.strokeStyle = colour;
  context.font = "11px system-ui, sans-serif";
  context.textAlign = "right";
  context.textBaseline = "middle";
  const fine = [1, 2, 5].find((step) => (step * height) / 100 > 13) ?? 10;
  const marks = [0, 20, 40, 60, 80];
  for (let mark = 90; mark <= 100; mark += fine) marks.push(mark);
  for (const mark of marks) {
    const y = Math.min(Math.max(((100 - mark) / 100) * height, 6), height - 6);
    context.fillText(`${mark} %`, margin - 6, y);
    context.fillRect(margin - 4, ((100 - mark) / 100) * height, 3, 1);
  }
}

export function mosaicTitle(mosaic, part) {
  const what = part === "train" ? "training digits" : WORDS[part] ?? "watched digits";
  if (!mosaic.known) return what;
  const enough = part === "train" ? `${mosaic.correct} of ${mosaic.known} correct` : `${percent(mosaic.correct / mosaic.known, 1)} of ${mosaic.known.toLocaleString("en-US")} correct`;
  return `${what}: ${enough}`;
}
