// Draw a digit and look inside a network, or two beside each other. What a network does is asked of an engine: remote.js
// (torch, on the server) or network.js (inside the page); both have the same methods.
import { count, el, percent } from "dom";
import { layers } from "layers";
import { looked } from "looked";
import { open } from "network";
import { fromStrokes, SIDE } from "normalize";
import { own } from "own";
import { pad, SIZE } from "pad";
import { paintInk, roundScale } from "paint";
import { says } from "says";
import { testset } from "testset";

const DOT = 0.03 * SIZE; // no drawing is smaller
const METHODS = ["gradient", "integrated", "occlusion"]; // the quick ones first

// A page of its own, with the network of `data` inside.
export function start(root, data) {
  const place = el("main", { class: "x-page" });
  root.append(place);
  mount(place, open(data.network));
}

// Fill `element` with the explorer of `engine`. Options: `beside`, a second engine; `runs`, a list of { key, label },
// and `connect(key, checkpoint)`, with which others are chosen.
export function mount(element, engine, { beside = null, runs = [], connect: reach = null } = {}) {
  const { classes } = engine.info, digits = classes.every((name) => /^\d$/.test(name));
  const trouble = el("p", { class: "x-note x-warn", role: "alert", hidden: true });
  const views = el("div", { class: "x-views" }), small = el("canvas", { role: "img", "aria-label": "The image that the network sees" });
  const frame = el("div", { class: "x-frame", hidden: true }), caption = el("p", { class: "faint x-small" });
  const brief = el("div", { class: "x-brief", "aria-hidden": "true" }); // beside the drawing, where the answer is further down
  let now = { image: new Uint8Array(SIDE * SIDE), problem: "nothing is drawn there" }, up = true, shown = [];

  function fail(error) {
    if (error.name === "AbortError") return;
    trouble.textContent = error instanceof TypeError ? "The server does not answer; is the command still running?" : error.message;
    trouble.hidden = false;
  }

  function see(image, problem, words, lifted) {
    now = { image, problem };
    up = lifted;
    paintInk(small, image, [1, SIDE, SIDE]);
    caption.textContent = words;
    trouble.hidden = true;
    for (const view of shown) view.ask();
  }

  const board = pad((strokes, lifted) => {
    const { image, problem } = fromStrokes(strokes, DOT);
    see(image, problem, "28×28 pixels: scaled to a box of 20, the centre of mass in the middle, as MNIST was made.", lifted);
  });
  const mine = own(classes, () => (now.problem ? null : { image: now.image, predicted: shown[0].predicted() }));
  const mistakes = testset(engine, (image, words) => {
    board.show(image);
    see(image, null, words, true);
  }, mine.element);

  function field(seen) {
    frame.hidden = !seen;
    if (!seen) return;
    const part = ([first, last]) => [`${(100 * first) / SIDE}%`, `${(100 * (last - first + 1)) / SIDE}%`];
    [frame.style.top, frame.style.height] = part(seen.rows);
    [frame.style.left, frame.style.width] = part(seen.columns);
  }

  // Two networks with the same layers have the same colour scales, so that they can be compared.
  function scales(result) {
    const sizes = ({ values }) => values.map(({ length }) => length).join();
    const alike = shown.map((view) => view.latest()).filter((other) => other && sizes(other) === sizes(result));
    return result.values.map((_, i) => roundScale(...alike.map(({ values }) => values[i])));
  }

  function changed() {
    for (const view of shown) view.redraw();
    brief.textContent = now.problem ? "" : shown.map((view) => classes[view.predicted()] ?? "").join(" / ");
  }

  const state = { now: () => now, up: () => up, fail, field, scales, changed };

  function arrange(engines) {
    shown = engines.map((one) => runView(one, state, digits));
    views.replaceChildren(...shown.map((view) => view.element));
    views.classList.toggle("x-two", shown.length > 1);
    for (const view of shown) view.ask();
  }

  const chooser = reach && besideChooser(engine, beside, runs, reach, (other) => arrange(other ? [engine, other] : [engine]), fail);
  element.classList.add("x-explore");
  element.append(
    el("div", { class: "x-left" },
      el("section", {}, el("h2", { class: "x-title" }, digits ? "Draw a digit" : "Draw something"), board.element),
      el("section", { class: "x-sees" }, el("h3", {}, "What it sees"), el("div", { class: "x-input" }, small, frame), brief, caption),
      chooser),
    el("div", { class: "x-right" }, trouble, views),
    el("div", { class: "x-bottom" }, mistakes.element));
  arrange(beside ? [engine, beside] : [engine]);
  see(now.image, now.problem, "28×28 pixels; draw something.", true);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  dark.addEventListener("change", function repaint() {
    if (!element.isConnected) return dark.removeEventListener("change", repaint);
    board.paint();
    paintInk(small, now.image, [1, SIDE, SIDE]);
    for (const view of shown) view.redraw();
  });
  // The mistakes take a while to find: not before somebody scrolls there.
  const watch = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    watch.disconnect();
    mistakes.read();
  });
  watch.observe(mistakes.element);
}

// What one network does with the image there is now: its answer, where it looked, its layers.
function runView(engine, state, digits) {
  const answer = says(engine.info.classes, (chosen) => {
    target = chosen;
    if (result) about = answer.draw(result, state.now().problem, digits);
    explain();
  });
  const maps = looked(engine.info.classes), inside = layers(engine, state.fail, state.field);
  let target = null, about = 0, result = null, seen = null, busy = false, waiting = false, asked = null;

  async function ask() {
    if (busy) return void (waiting = true);
    busy = true;
    asked?.abort();
    try {
      do {
        waiting = false;
        const { image, problem } = state.now();
        result = await engine.look(image, { target, methods: problem ? [] : METHODS.slice(0, state.up() ? 2 : 1) });
        seen = image;
        about = answer.draw(result, problem, digits);
        for (const [method, values] of Object.entries(result.looked)) maps.draw(method, values, about);
        state.changed();
      } while (waiting);
    } catch (error) {
      state.fail(error);
    }
    busy = false;
    explain(result?.looked);
  }

  // Where it looked: the quick answer while one draws, all once the pen is up. `there`: what is shown already.
  async function explain(there = {}) {
    asked?.abort();
    if (state.now().problem) {
      maps.clear();
      return settle("nothing");
    }
    const { signal } = (asked = new AbortController()), { image } = state.now(), by = about;
    try {
      for (const method of METHODS.slice(0, state.up() ? 3 : 1)) {
        if (!there[method]) {
          maps.old(method);
          const values = await engine.looked(image, method, by, signal);
          if (signal.aborted || !values) return;
          maps.draw(method, values, by);
        }
        settle(method);
      }
    } catch (error) {
      state.fail(error);
    }
  }

  // For benchmarks and tests: how far the panels are, and for which drawing.
  function settle(what) {
    element.dataset.settled = what;
    element.dispatchEvent(new CustomEvent("settled", { bubbles: true, detail: what }));
  }

  const { name, run, checkpoint, training_step: step, parameters, test_accuracy: accuracy, data } = engine.info;
  const facts = [
    run !== name && run, checkpoint !== "last" && `checkpoint ${checkpoint}`, `${count(parameters)} parameters`,
    `step ${count(step)}`, accuracy !== null && `${percent(accuracy)} of the test set`, data,
  ];
  const element = el("article", { class: "x-run", "aria-label": `${name}, step ${step}` },
    el("header", { class: "x-about" }, el("h2", {}, name),
      el("span", { class: "faint" }, facts.filter(Boolean).join(" · "))),
    el("div", { class: "x-top" }, answer.element, maps.element), inside.element);
  return {
    element, ask,
    latest: () => result,
    predicted: () => (result ? result.probabilities.indexOf(Math.max(...result.probabilities)) : null),
    redraw: () => result && seen && inside.draw(seen, result, state.scales(result)),
  };
}

// Chooses what is beside the run: nothing, the same run at another step, another run.
function besideChooser(engine, beside, runs, reach, show, fail) {
  const select = el("select", {});
  const [mine, ...others] = runs;
  const option = (key, checkpoint, words) => el("option", { value: JSON.stringify([key, checkpoint]) }, words);
  select.append(el("option", { value: "" }, "nothing"));
  for (const { name, step } of engine.info.checkpoints ?? []) {
    if (name !== engine.info.checkpoint) select.append(option(mine.key, name, `the same run at step ${count(step)} (${name})`));
  }
  for (const { key, label } of others) {
    select.append(option(key, "last", label));
    for (const { name, step } of (beside?.info.run === label && beside.info.checkpoints) || []) {
      if (name !== "last") select.append(option(key, name, `${label} at step ${count(step)} (${name})`));
    }
  }
  if (beside) select.value = JSON.stringify([others[0].key, "last"]);
  select.onchange = async () => {
    try {
      show(select.value ? await reach(...JSON.parse(select.value)) : null);
    } catch (error) {
      fail(error);
    }
  };
  return el("label", { class: "x-beside" }, el("span", {}, "Compare with"), select);
}
