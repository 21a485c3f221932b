// Where a network looked: for one class, three answers as signed colours and in words.
import { el } from "dom";
import { legend, roundScale, sheet } from "paint";

// In words: what speaks `plus` for the class, and what speaks `minus` against it; one alone where the other is small.
const METHODS = {
  gradient: {
    title: "Gradient", hint: "What a little more ink would do.",
    plus: (name, zone) => `More ink ${zone} would raise the score of ${name} most`,
    minus: (name, zone) => `More ink ${zone} would lower the score of ${name} most`,
    both: (name, plus, minus) => `More ink ${plus} would raise the score of ${name} most, ${minus} lower it most`,
  },
  integrated: {
    title: "Integrated gradients", hint: "What the ink that is there has done.",
    plus: (name, zone) => `Nearly all the ink speaks for ${name}, most of all ${zone}`,
    minus: (name, zone) => `Nearly all the ink speaks against ${name}, most of all ${zone}`,
    both: (name, plus, minus) => `The ink ${plus} speaks for ${name} most, that ${minus} against it`,
  },
  occlusion: {
    title: "Occlusion", hint: "What changes when a patch of 4×4 is wiped out.",
    plus: (name, zone) => `Without the ink ${zone} the score of ${name} falls most`,
    minus: (name, zone) => `Without the ink ${zone} the score of ${name} rises most`,
    both: (name, plus, minus) => `Without the ink ${plus} the score of ${name} falls most, without that ${minus} it rises`,
  },
};
const ZONES = ["at the upper left", "at the top", "at the upper right", "on the left", "in the middle", "on the right",
  "at the lower left", "at the bottom", "at the lower right"];
const THIRDS = [11, 17]; // where the parts of an image end: those of the box that digits fit, nearly

export function looked(classes) {
  const heading = el("h3", {}, "Where it looked");
  const parts = Object.fromEntries(Object.entries(METHODS).map(([method, { title, hint }]) => {
    const view = sheet({ shape: [1, 28, 28], zoom: 6, columns: 1, label: `${title}: blue speaks for the class, red against it` });
    const key = legend(), words = el("p", { class: "x-small" }, hint);
    const caption = el("figcaption", {}, el("b", {}, title), key.element);
    const element = el("figure", { class: "x-map", title: hint }, caption, view.element, words);
    return [method, { view, key, words, element }];
  }));
  return {
    element: el("section", { class: "x-looked" }, heading,
      el("div", { class: "x-maps" }, Object.values(parts).map(({ element }) => element))),
    draw(method, values, target) {
      const { view, key, words, element } = parts[method], scale = roundScale(values);
      heading.textContent = `Where it looked for “${classes[target]}”`;
      view.draw(values, scale);
      key.draw(scale);
      words.textContent = inWords(METHODS[method], values, classes[target]);
      element.classList.remove("x-old");
    },
    // What is shown is of an image before.
    old: (method) => parts[method].element.classList.add("x-old"),
    clear() {
      heading.textContent = "Where it looked";
      for (const [method, { view, words, element }] of Object.entries(parts)) {
        view.draw(new Float32Array(784), 1);
        words.textContent = METHODS[method].hint;
        element.classList.remove("x-old");
      }
    },
  };
}

// In which of nine parts of the image most speaks for the class, and in which most against it.
export function inWords({ plus, minus, both }, values, name) {
  const third = (at) => THIRDS.filter((end) => at >= end).length;
  const sums = new Float64Array(9);
  values.forEach((value, i) => (sums[3 * third(Math.floor(i / 28)) + third(i % 28)] += value));
  const up = Math.max(0, ...sums), down = -Math.min(0, ...sums), most = sums.indexOf(up), least = sums.indexOf(-down);
  if (!(up + down > 0)) return "Nothing here changes it.";
  if (down < 0.1 * up) return `${plus(name, ZONES[most])}.`;
  return up < 0.1 * down ? `${minus(name, ZONES[least])}.` : `${both(name, ZONES[most], ZONES[least])}.`;
}
