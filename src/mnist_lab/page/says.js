// What a network says: its answer, and ten probabilities. One of them is what "where it looked" is about.
import { el, percent } from "dom";

// choose(target): a class was clicked; null for whatever is most probable.
export function says(classes, choose) {
  const answer = el("output", { class: "x-answer" }), sure = el("span", { class: "faint" });
  const note = el("p", { class: "x-note", role: "status" });
  let target = null;
  const rows = classes.map((name, label) => {
    const fill = el("span", { class: "x-fill" }), number = el("span", { class: "x-percent" });
    const button = el("button", { type: "button", class: "x-class", onclick: () => pick(label) },
      el("span", { class: "x-name" }, name), el("span", { class: "x-bar", "aria-hidden": "true" }, fill), number);
    return { button, fill, number };
  });

  function pick(label) {
    target = target === label ? null : label;
    choose(target);
  }

  return {
    element: el("section", { class: "x-says" },
      el("h3", {}, "It says"), el("div", { class: "x-said" }, answer, sure), note,
      el("div", {
        role: "group", style: `--name: ${Math.max(...classes.map((name) => name.length))}ch`,
        "aria-label": "Probability of each class; choose one to see where the network looked for it",
      }, rows.map(({ button }) => button))),
    // `about`: the class that where it looked is about.
    draw({ probabilities, strange }, problem, digits) {
      const best = probabilities.indexOf(Math.max(...probabilities));
      answer.textContent = problem ? "–" : classes[best];
      sure.textContent = problem ? "" : percent(probabilities[best], probabilities[best] > 0.9995 ? 2 : 1);
      const unlike = `Unlike any ${digits ? "digit" : "thing it knows"}: no ${classes[best]} it was trained on looks like this.`;
      note.textContent = problem ?? (strange ? unlike : "");
      note.classList.toggle("x-warn", Boolean(strange) && !problem);
      const about = target ?? best;
      rows.forEach(({ button, fill, number }, label) => {
        fill.style.width = `${problem ? 0 : 100 * probabilities[label]}%`;
        number.textContent = problem ? "" : percent(probabilities[label], 1);
        button.setAttribute("aria-pressed", String(target === label));
        button.classList.toggle("x-best", !problem && label === best);
        button.setAttribute("aria-label", problem ? classes[label] : `${classes[label]}: ${percent(probabilities[label], 1)}`);
      });
      return about;
    },
    clear(problem) {
      this.draw({ probabilities: classes.map(() => 0), strange: false }, problem);
    },
  };
}
