// The test set's mistakes, by true and predicted class, and the mean image of each class. A click loads an image.
import { count, el, percent } from "dom";
import { paintInk } from "paint";

const AT_ONCE = 120; // thumbnails

// load(image, words): show this image in place of what is drawn. `more` goes below the mean images.
export function testset(engine, load, more) {
  const { classes } = engine.info;
  const matrix = el("div", { class: "x-scroll" });
  const thumbs = el("div", { class: "x-thumbs", role: "group", "aria-label": "Mistakes; arrow keys go through them" });
  const says = el("p", { role: "status" }, "Looking through the test set …"), means = el("div", { class: "x-thumbs x-means" });
  let all = [], shown = [], at = -1;

  function filter(label, predicted) {
    shown = all.filter((one) => (label === null || one.label === label) && (predicted === null || one.predicted === predicted));
    at = -1;
    thumbs.replaceChildren(...shown.slice(0, AT_ONCE).map((one, i) => thumb(one.image,
      `${classes[one.label]}, taken for ${classes[one.predicted]} (${percent(one.probability, 0)})`,
      `${classes[one.label]}→${classes[one.predicted]}`, () => open(i), i ? -1 : 0)));
    if (shown.length > AT_ONCE) thumbs.append(el("span", { class: "faint" }, `and ${count(shown.length - AT_ONCE)} more`));
  }

  function open(i) {
    const buttons = [...thumbs.querySelectorAll("button")];
    if (!buttons.length) return;
    at = (i + buttons.length) % buttons.length;
    buttons.forEach((button, k) => {
      button.setAttribute("aria-pressed", String(k === at));
      button.tabIndex = k === at ? 0 : -1;
    });
    buttons[at].focus({ preventScroll: false });
    const { image, index, label } = shown[at];
    load(image, `Test image ${count(index)}: a ${classes[label]}`);
  }

  thumbs.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    open(at < 0 ? 0 : at + step);
  });

  async function read() {
    const found = await engine.testset();
    all = found.mistakes;
    const some = found.count > all.length ? `; here are ${count(all.length)}` : "";
    says.textContent = `${count(found.count)} of ${count(found.tested)} test images are missed${some}. `
      + "Rows are what they are, columns what they were taken for.";
    const counts = classes.map(() => new Array(10).fill(0));
    for (const { label, predicted } of all) counts[label][predicted]++;
    const most = Math.max(1, ...counts.flat());
    const cell = (label, predicted) => {
      const number = counts[label][predicted];
      if (!number) return el("td", {});
      const part = 15 + Math.round((65 * number) / most);
      return el("td", {}, el("button", {
        type: "button", style: `background: color-mix(in srgb, var(--negative) ${part}%, var(--paper))`, class: part > 55 ? "x-deep" : null,
        "aria-label": `${count(number)} of class ${classes[label]} taken for ${classes[predicted]}`,
        onclick: () => filter(label, predicted),
      }, number));
    };
    matrix.replaceChildren(el("table", { class: "x-matrix" },
      el("thead", {}, el("tr", {}, el("th", {}, el("button", { type: "button", onclick: () => filter(null, null) }, "all")),
        classes.map((name) => el("th", { scope: "col" }, name)))),
      el("tbody", {}, classes.map((name, label) => el("tr", {},
        el("th", { scope: "row" }, name), classes.map((_, predicted) => cell(label, predicted)))))));
    means.replaceChildren(...found.means.map((image, label) => thumb(image, `The mean ${classes[label]}`, classes[label],
      () => load(image, `The mean of all training images of ${classes[label]}`))));
    filter(null, null);
  }

  return {
    element: el("div", { class: "x-below" },
      el("section", {}, el("h2", {}, "Mistakes on the test set"), says, el("div", { class: "x-mistakes" }, matrix, thumbs)),
      el("div", {},
        el("section", {}, el("h2", {}, "The mean of each class"),
          el("p", { class: "faint" }, "What a class looks like on average; click one to show it to the network."), means),
        more)),
    read: () => read().catch((error) => (says.textContent = error.message)),
  };
}

function thumb(image, label, caption, onclick, tabindex = 0) {
  const picture = el("canvas", {});
  paintInk(picture, image, [1, 28, 28]);
  return el("button", { type: "button", class: "x-thumb", "aria-label": label, title: label, onclick, tabindex },
    picture, el("span", {}, caption));
}
