// Every layer of a network at work: its values as pictures, its filters, and a unit's sum where one is clicked.
import { count, el, short } from "dom";
import { legend, roundScale, sheet } from "paint";
import { stages, tiled, where, zoomOf } from "shapes";
import { unitPanel } from "unit";

const RISING = ["ReLU", "sigmoid"]; // never below zero

// `fail` is told what goes wrong; `seen` the pixels that the chosen unit sees.
export function layers(engine, fail, seen) {
  const { steps, classes } = engine.info, all = stages(steps), panel = unitPanel(engine, seen);
  let latest = null, picked = null; // { image, result, scales }, { number, at, index }

  const rows = all.map((stage, number) => {
    const last = number === all.length - 1, key = legend();
    const body = el("div"), pictures = weightPictures(engine, stage[0], number === all.findIndex(([step]) => step.weights), fail);
    let shown = stage.length - 1, view = null;
    const button = (step, i) => el("button", { type: "button", class: "x-step", onclick: () => show(i) },
      step.weights ? "sum" : step.kind);
    const buttons = stage.map(button);
    const element = el("section", { class: "x-layer" },
      el("div", { class: "x-head" }, el("h3", {}, `${number + 1}. ${title(stage, last)}`),
        stage.length > 1 && el("span", { class: "x-steps", role: "group", "aria-label": "What is shown of this layer" }, buttons),
        pictures.buttons, key.element),
      body, pictures.place);

    function show(at) {
      shown = at;
      buttons.forEach((button, i) => button.setAttribute("aria-pressed", String(i === shown)));
      const step = stage[shown], shape = tiled(step.shape);
      const what = shape[1] > 1 ? `${count(shape[0])} images of ${shape[1]}×${shape[2]}` : `${count(shape[0])} units`;
      view = last && shown === 0 && shape[0] === classes.length ? answers(classes, (index) => pick({ number, at: 0, index })) : sheet({
        shape, zoom: zoomOf(shape), label: `Layer ${number + 1}, ${step.kind}: ${what}; arrow keys choose a unit`,
        pick: (index) => pick({ number, at: shown, index }),
        describe: (index, value) => `${where(step.shape, index, last ? classes : null)}: ${short(value)}`,
      });
      body.replaceChildren(view.element);
      if (latest) draw();
    }

    function draw() {
      const { index } = stage[shown], values = latest.result.values[index], scale = latest.scales[index];
      view.draw(values, scale);
      key.draw(scale, !stage.slice(0, shown + 1).some(({ kind }) => RISING.includes(kind)));
      const before = all[0][0].weights ? null : latest.result.values[all[0][0].index]; // what a normalised image became
      pictures.draw(before ?? Float32Array.from(latest.image, (value) => value / 255));
    }

    show(shown);
    return { element, draw, unmark: () => view.unmark() };
  });

  function pick(unit) {
    if (picked && picked.number !== unit.number) rows[picked.number].unmark();
    picked = unit;
    rows[unit.number].element.append(panel.element);
    explain();
  }

  async function explain() {
    if (!picked || !latest) return;
    try {
      await panel.show({ all, ...picked, image: latest.image, values: latest.result.values });
    } catch (error) {
      fail(error);
    }
  }

  return {
    element: el("div", { class: "x-layers" }, rows.map(({ element }) => element)),
    // `scales`: of each step, where they are shared with a network beside this one.
    async draw(image, result, scales = result.values.map((values) => roundScale(values))) {
      latest = { image, result, scales };
      for (const row of rows) row.draw();
      await explain();
    },
  };
}

function title([{ kind, weights, shape }], last) {
  if (!weights) return `${kind[0].toUpperCase()}${kind.slice(1)}`;
  if (kind !== "dense") {
    return `Convolution: ${count(weights[0])} filters of ${weights[2]}×${weights[3]}, each at ${shape[1]}×${shape[2]} places`;
  }
  return `${last ? "The answer" : "Dense layer"}: ${count(weights[0])} units, each looks at ${count(weights[1])} numbers`;
}

// Buttons that show the weights of a layer where they are pictures: those of convolutions, and of what sees the pixels,
// which are shown times the ink too.
function weightPictures(engine, { weights, index, kind }, first, fail) {
  const pixels = kind === "dense" && weights[1] === 784, place = el("div");
  const modes = !weights || (kind === "dense" && !pixels) ? [] : pixels ? ["weights", "weights × ink"] : ["filters"];
  let open = null, values = null, view = null, ink = null;
  const key = legend();
  const buttons = modes.map((mode) => el("button", {
    type: "button", class: "x-step", "aria-expanded": "false", onclick: () => toggle(mode),
  }, mode));

  async function toggle(mode) {
    open = open === mode ? null : mode;
    buttons.forEach((button, i) => button.setAttribute("aria-expanded", String(modes[i] === open)));
    place.replaceChildren();
    if (!open) return;
    try {
      values ??= await engine.weights(index);
    } catch (error) {
      return fail(error);
    }
    const [rows, inputs, height, width] = pixels ? [weights[0], 1, 28, 28] : weights;
    view = sheet({
      shape: [rows * inputs, height, width], columns: inputs > 1 ? inputs : null, zoom: pixels ? (rows > 10 ? 1 : 2) : inputs > 1 ? 2 : 6,
      label: `${count(rows)} pictures of ${open}`,
    });
    const says = inputs > 1 ? "A row for each filter, a column for each channel that it looks at." : open === "weights × ink"
      ? "What each pixel adds to the sum of each unit, in their order: blue for it, red against it."
      : "Blue: ink there speaks for the unit; red: against it.";
    place.append(el("p", { class: "faint x-small" }, says, " ", key.element),
      el("div", { class: "x-scroll", tabindex: 0, role: "group", "aria-label": open }, view.element));
    draw();
  }

  function draw(image = ink) {
    ink = image;
    if (!open) return;
    const shown = open === "weights × ink" && ink ? values.map((weight, i) => weight * ink[i % 784]) : values, scale = roundScale(shown);
    view.draw(shown, scale);
    key.draw(scale);
  }

  if (pixels && first && weights[0] === 10) toggle("weights × ink"); // softmax has nothing else to show
  return { buttons, place, draw };
}

// The units of the last layer, by the names of their classes.
function answers(classes, pick) {
  let chosen = null;
  const cells = classes.map((name, index) => {
    const value = el("span");
    const button = el("button", { type: "button", class: "x-logit", onclick: () => choose(index) }, el("b", {}, name), value);
    return { button, value };
  });
  function choose(index) {
    chosen = index;
    mark();
    pick(index);
  }
  const mark = () => cells.forEach(({ button }, index) => button.setAttribute("aria-pressed", String(index === chosen)));
  const words = classes.some((name) => name.length > 2) ? "x-words" : "";
  return {
    element: el("div", { class: `x-logits ${words}` }, cells.map(({ button }) => button)),
    draw(values, scale) {
      cells.forEach(({ button, value }, index) => {
        const part = Math.round((100 * Math.abs(values[index])) / scale);
        value.textContent = values[index].toFixed(1).replace("-", "−");
        value.style.background = `color-mix(in srgb, var(--${values[index] < 0 ? "negative" : "positive"}) ${part}%, var(--good))`;
        value.classList.toggle("x-deep", part > 55);
      });
    },
    unmark() {
      chosen = null;
      mark();
    },
  };
}
