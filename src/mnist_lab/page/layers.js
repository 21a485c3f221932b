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
    const body = el("div"), weights = el("div");
    let shown = stage.length - 1, view = null;
    const buttons = stage.map((step, i) => el("button", { type: "button", class: "x-step", onclick: () => show(i) }, step.weights ? "sum" : step.kind));
    const element = el("section", { class: "x-layer" },
      el("div", { class: "x-head" }, el("h3", {}, `${number + 1}. ${title(stage, last)}`),
        stage.length > 1 && el("span", { class: "x-steps", role: "group", "aria-label": "What is shown of this layer" }, buttons),
        weightsButton(engine, stage[0], weights, fail), key.element),
      body, weights);

    function show(at) {
      shown = at;
      buttons.forEach((button, i) => button.setAttribute("aria-pressed", String(i === shown)));
      const step = stage[shown], shape = tiled(step.shape);
      const what = shape[1] > 1 ? `${count(shape[0])} images of ${shape[1]}×${shape[2]}` : `${count(shape[0])} units`;
      view = sheet({
        shape, zoom: zoomOf(shape), label: `Layer ${number + 1}, ${step.kind}: ${what}; arrow keys choose a unit`,
        pick: (index) => pick({ number, at: shown, index }),
        describe: (index, value) => `${where(step.shape, index, last ? classes : null)}: ${short(value)}`,
      });
      body.replaceChildren(view.element);
      if (latest) draw();
    }

    function draw() {
      const { index, kind } = stage[shown], values = latest.result.values[index], scale = latest.scales[index];
      view.draw(values, scale);
      key.draw(scale, !RISING.includes(kind));
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
  if (kind !== "dense") return `Convolution: ${count(weights[0])} filters of ${weights[2]}×${weights[3]}, each at ${shape[1]}×${shape[2]} places`;
  return `${last ? "The answer" : "Dense layer"}: ${count(weights[0])} units, each looks at ${count(weights[1])} numbers`;
}

// A button that shows the weights of a layer where they are pictures: those of convolutions, and of what sees pixels.
function weightsButton(engine, { weights, index, kind }, place, fail) {
  const pixels = kind === "dense" && weights[1] === 784;
  if (!weights || (kind === "dense" && !pixels)) return null;
  const button = el("button", { type: "button", class: "x-step", "aria-expanded": "false" }, pixels ? "weights" : "filters");
  button.onclick = async () => {
    const open = button.getAttribute("aria-expanded") === "true";
    button.setAttribute("aria-expanded", String(!open));
    if (open) return place.replaceChildren();
    try {
      const values = await engine.weights(index), [rows, inputs, height, width] = pixels ? [weights[0], 1, 28, 28] : weights;
      const key = legend(), scale = roundScale(values);
      const view = sheet({
        shape: [rows * inputs, height, width], columns: inputs > 1 ? inputs : null, zoom: pixels || inputs > 1 ? 2 : 6,
        label: `${count(rows)} ${pixels ? "weights of units" : "filters"} as pictures`,
      });
      const says = inputs > 1 ? "A row for each filter, a column for each channel it looks at." : "Blue: ink there speaks for it; red: against it.";
      place.replaceChildren(el("p", { class: "faint x-small" }, says, " ", key.element),
        el("div", { class: "x-scroll", tabindex: 0, role: "group", "aria-label": "Weights" }, view.element));
      view.draw(values, scale);
      key.draw(scale);
    } catch (error) {
      fail(error);
    }
  };
  return button;
}
