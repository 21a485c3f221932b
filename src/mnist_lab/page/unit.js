// One unit, explained: what it looked at, times its weights, the sum, and what became of it.
import { count, el, short } from "dom";
import { legend, roundScale, sheet } from "paint";
import { inputTiles, receptiveField, wayBack, where, zoomOf } from "shapes";

const READABLE = 49; // numbers in one grid

// seen(field): the pixels that the unit can see, null where that is all of them.
export function unitPanel(engine, seen) {
  const element = el("div", { class: "x-unit", role: "region", "aria-label": "The unit that was chosen" });
  let channel = null, shown = ""; // which channel's numbers are open, and of which unit

  // The unit `index` of step `at` in stage `number`, for `image` and the `values` of all steps.
  async function show({ all, number, at, index, values, image }) {
    const stage = all[number], step = stage[at], classes = number === all.length - 1 ? engine.info.classes : null;
    const name = where(step.shape, index, classes), value = values[step.index][index];
    const heading = el("h4", {}, `${name[0].toUpperCase()}${name.slice(1)}: `,
      el("output", { class: "x-value", "data-value": value }, short(value)));
    const back = stage[0].weights && wayBack(stage, at, index, values);
    if (!back) {
      seen(null);
      element.replaceChildren(heading, el("p", {}, stage[0].weights
        ? `Joined from several values of the step before (${step.kind}).`
        : "The image as the network takes it, normalised."));
      return;
    }
    if (shown !== `${number}/${at}/${index}`) {
      shown = `${number}/${at}/${index}`;
      channel = null;
    }
    const unit = await engine.unit(image, stage[0].index, back.index);
    const field = receptiveField(all, number, back.index);
    seen(field);
    draw(heading, unit, stage[0], inputTiles(stage[0], all[number - 1]?.at(-1)), back.way, field);
  }

  function draw(heading, unit, { kind }, tiles, way, field) {
    const dense = kind === "dense", [channels, height, width] = tiles, area = height * width;
    const products = unit.inputs.map((input, i) => input * unit.weights[i]);
    const parts = [unit.inputs, unit.weights, products], scales = parts.map((part) => roundScale(part));
    const names = [dense ? "What it looked at" : "The patch it looked at", dense ? "× its weights" : "× its kernel", "= the products"];
    const sums = Array.from({ length: channels }, (_, k) => sum(products.subarray(k * area, (k + 1) * area)));
    const focus = channel ?? sums.reduce((best, value, k) => (Math.abs(value) > Math.abs(sums[best]) ? k : best), 0);
    const readable = !dense && area <= READABLE;

    const pictures = readable && channels === 1 ? [] : parts.map((part, k) => {
      const key = legend(), open = readable ? (i) => {
        channel = Math.floor(i / area);
        draw(heading, unit, { kind }, tiles, way, field);
      } : null;
      const zoom = area === 784 ? 5 : area === 1 ? 8 : Math.min(4, zoomOf(tiles));
      const view = sheet({ shape: tiles, zoom, label: `${names[k]}: ${count(part.length)} numbers`, pick: open });
      key.draw(scales[k], part.some((value) => value < 0));
      view.draw(part, scales[k]);
      return el("figure", { class: "x-part" }, el("figcaption", {}, names[k], " ", key.element), view.element);
    });
    const grids = !readable ? [] : parts.map((part, k) => el("figure", { class: "x-part" },
      el("figcaption", {}, channels > 1 ? `${names[k]}, channel ${focus + 1}` : names[k]),
      grid(part.subarray(focus * area, (focus + 1) * area), width, scales[k], names[k])));

    const channelSum = readable && channels > 1
      ? `Channel ${focus + 1} of ${channels}: its ${area} products add up to ${short(sums[focus])}.` : null;
    const steps = [
      channelSum,
      `Sum of ${count(products.length)} products ${short(sum(products))} ${unit.bias < 0 ? "−" : "+"} `
        + `bias ${short(Math.abs(unit.bias))} = ${short(unit.sum)}`,
      ...way.map(({ kind: what, says, value }) => `${what}: ${says} → ${short(value)}`),
    ];
    const sees = field && `It sees rows ${range(field.rows)}, columns ${range(field.columns)} of the image, framed in “What it sees”.`;
    element.replaceChildren(heading,
      sees ? el("p", { class: "faint x-small" }, sees) : "",
      el("div", { class: "x-parts" }, pictures), el("div", { class: "x-parts" }, grids),
      el("ol", { class: "x-sum" }, steps.filter(Boolean).map((text) => el("li", {}, text))));
  }

  return { element, show };
}

const sum = (values) => values.reduce((a, b) => a + b, 0);
const range = ([first, last]) => (first === last ? first + 1 : `${first + 1} to ${last + 1}`);

// Coloured numbers in rows of `width`.
function grid(values, width, scale, label) {
  const cells = Array.from(values, (value) => {
    const part = Math.min(100, Math.round((100 * Math.abs(value)) / scale));
    const colour = `color-mix(in srgb, var(--${value < 0 ? "negative" : "positive"}) ${part}%, var(--paper))`;
    return el("span", { style: `background: ${colour}`, class: part > 55 ? "x-deep" : null }, brief(value));
  });
  const words = `${label}: ${Array.from(values, short).join(", ")}`;
  return el("div", { class: "x-grid", role: "img", "aria-label": words, style: `--columns: ${width}` }, cells);
}

// A number in four characters: .12, 1.2, 12.
function brief(value) {
  if (Math.abs(value) < 0.005) return "0";
  const digits = Math.abs(value) >= 10 ? 0 : Math.abs(value) >= 1 ? 1 : 2;
  return value.toFixed(digits).replace("0.", ".").replace("-", "−");
}
