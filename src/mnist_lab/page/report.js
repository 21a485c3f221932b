// The report over many runs. report_page.py groups, names and measures them; this shows, sorts and filters.

import { Chart, legendButton, number, percents, series } from "chart";
import { count, download, el } from "dom";
import { Parallel } from "parallel";

const COLORED = 8; // rows, the first in the table
const GREY = 300; // other rows whose curves are drawn

// What all parts of the page share: the rows, their order, which of them the brushes let pass, the one under the
// pointer (lit), and the parts that are drawn anew when one of these changes.
class Shown {
  constructor(rows) {
    rows.forEach((row, i) => (row.id = `row-${i}`));
    Object.assign(this, { rows, order: rows, passing: rows, lit: null, parts: [] });
  }

  litFirst(rows) {
    return rows.toSorted((a, b) => (b === this.lit) - (a === this.lit));
  }

  draw() {
    const passing = new Set(this.passing), visible = this.order.filter((row) => passing.has(row));
    const colors = new Map(visible.slice(0, COLORED).map((row, i) => [row, series(i)]));
    if (this.lit && !colors.has(this.lit)) colors.set(this.lit, "var(--ink)");
    for (const part of this.parts) part(visible, colors);
  }
}

export function start(root, data) {
  const shown = new Shown(data.rows);
  const sections = [heading, curves, costs, settings, table, unfinished, notes].map((section) => section(data, shown));
  root.className = "report";
  root.append(...sections.filter(Boolean));
  shown.draw();
}

const section = (title, ...content) => el("section", {}, el("h2", {}, title), ...content);

// "36 runs", how they ended, and which row is the best.
function heading({ place, states, rows, head }) {
  const { done = 0, ...others } = states, ended = Object.entries(others).map(([state, n]) => `${n} ${state}`);
  const total = Object.values(states).reduce((a, b) => a + b, 0);
  const best = rows.length > 1 && rows.find(({ accuracy: [mean] }) => mean !== null);
  const told = best && [`Best on the ${best.part} images: `, el("strong", {}, best.label)];
  return el("div", { class: "report-head" },
    el("h1", {}, `${count(total)} ${total === 1 ? "run" : "runs"}`, el("span", { class: "faint" }, ` in ${place}`)),
    el("p", {}, ended.length > 0 && `${done} done, ${ended.join(", ")}. `,
      told, best && `, ${best.cells[head.indexOf(best.part)]}.`));
}

// A chart with a button for each kind of file that it can be saved as.
function figure(options) {
  const place = el("div"), chart = new Chart(place, { legend: false, firstOnTop: true, ...options });
  const name = options.title.toLowerCase().replace(/[^a-z0-9]+/g, "-");
  const save = (kind, action) => el("button", { type: "button", onclick: action }, kind);
  const element = el("div", { class: "figure" }, place,
    el("div", { class: "save", role: "group", "aria-label": `Save ${options.title}` },
      save("SVG", () => download(`${name}.svg`, chart.svg(), "image/svg+xml")),
      save("PNG", async () => download(`${name}.png`, await chart.png(3)))));
  return { chart, element };
}

// Learning curves: the first rows of the table in colour, with a band over their seeds; the others grey.
function curves({ steps }, shown) {
  const parts = new Set(shown.rows.filter(({ curves }) => curves.some(Boolean)).map(({ part }) => part));
  if (!parts.size) return null;
  const watched = "test, watched while training", both = parts.size > 1;
  const what = both ? `validation, dashed: ${watched}` : parts.has("test") ? watched : "validation";
  const x = { label: "step", integer: true, min: 0 };
  const kinds = [
    { title: "Accuracy while training", y: { label: `accuracy (${what})`, format: percents } },
    { title: "Loss while training", y: { label: `cross-entropy (${what})`, log: true } },
  ];
  const figures = kinds.map((kind) => figure({ x, ...kind }));
  const legend = el("div", { class: "chart-legend", role: "group", "aria-label": "Curves shown" });
  const { hidden } = figures[0].chart;
  const toggle = (label) => {
    for (const { chart } of figures) chart.toggle(label);
    for (const button of legend.children) button.setAttribute("aria-pressed", String(!hidden.has(button.textContent)));
  };
  shown.parts.push((visible, colors) => {
    const drawn = visible.filter(({ curves }) => curves.some(Boolean)).slice(0, COLORED + GREY);
    const style = (row) => ({ color: colors.get(row), dash: both && row.part === "test" ? "7 4" : null });
    figures.forEach(({ chart }, i) => {
      const line = (row) => {
        const [at, y, low, high] = row.curves[i], x = steps[at];
        if (!colors.has(row)) return { color: "var(--line)", width: 0.6, x, y };
        return { name: row.label, ...style(row), width: row === shown.lit ? 2.4 : 1.3, x, y, low, high };
      };
      chart.draw({ lines: shown.litFirst(drawn).filter(({ curves }) => curves[i]).map(line) });
    });
    legend.replaceChildren(...drawn.slice(0, COLORED).map((row) =>
      legendButton({ name: row.label, ...style(row) }, !hidden.has(row.label), () => toggle(row.label))));
  });
  return section("Learning curves", el("div", { class: "figures" }, figures.map(({ element }) => element)), legend);
}

// What accuracy costs, with the rows that nothing beats.
function costs({ costs, fronts }, shown) {
  const figures = costs.map((label, cost) => {
    const known = shown.rows.filter(({ costs, accuracy }) => costs[cost] !== null && accuracy[0] !== null);
    const all = known.map(({ costs }) => costs[cost]), low = Math.min(...all), high = Math.max(...all);
    if (known.length < 2 || low === high) return null;
    const x = { label, log: low > 0 && high / low >= 10 };
    const y = { label: "accuracy", format: percents };
    const { chart, element } = figure({ title: `Accuracy against ${label}`, x, y });
    const front = { color: "var(--ink)", width: 0.7, x: [], y: [] }; // steps: what is reached stays until it is beaten
    for (const { costs, accuracy } of fronts[cost].map((row) => shown.rows[row])) {
      front.x.push(costs[cost], costs[cost]);
      front.y.push(front.y.at(-1) ?? accuracy[0], accuracy[0]);
    }
    const inKnown = new Set(known);
    shown.parts.push((visible, colors) => {
      const points = shown.litFirst(visible).filter((row) => inKnown.has(row)).map((row) => {
        const { label, part, costs, accuracy: [y, error] } = row, href = `#${row.id}`;
        const point = { label: `${label} (${part})`, x: costs[cost], y, hollow: part === "test", href };
        if (!colors.has(row)) return { ...point, color: "var(--series-8)", size: 0.7 };
        return { ...point, name: row.label, color: colors.get(row), error, size: row === shown.lit ? 1.6 : 1 };
      });
      chart.draw({ points, lines: [front] });
    });
    return element;
  });
  if (!figures.some(Boolean)) return null;
  const tested = shown.rows.some(({ part }) => part === "test");
  return section("What accuracy costs", el("div", { class: "figures" }, figures), el("p", { class: "faint" },
    "Accuracy of the validation images", tested && ", or, hollow, of the test images where none were held out", ". ",
    "The line is the Pareto front: it joins the rows that no other beats at the same cost or less."));
}

// Settings against accuracy: brushes choose which rows everything else shows.
function settings({ head, settings }, shown) {
  const { rows } = shown;
  if (rows.length < 3 || !settings) return null;
  const axes = head.slice(0, settings).map((label, i) => ({ label, values: rows.map(({ values }) => values[i]) }));
  axes.push({ label: "accuracy", values: rows.map(({ accuracy }) => accuracy[0]), format: percents });
  const place = el("div"), told = el("output");
  const all = el("button", { type: "button", hidden: true, onclick: () => plot.reset() }, "Show all rows");
  const changed = (passing) => {
    shown.passing = passing.map((row) => rows[row]);
    all.hidden = passing.length === rows.length;
    told.textContent = `${count(passing.length)} of ${count(rows.length)} rows`;
    shown.draw();
  };
  const plot = new Parallel(place, { axes, title: "Settings and accuracy, with sliders that choose rows", changed });
  const numbered = (colors) => new Map([...colors].map(([row, color]) => [rows.indexOf(row), color]));
  shown.parts.push((visible, colors) => plot.draw(numbered(colors)));
  return section("Settings",
    el("p", { class: "faint" }, "Drag along an axis to choose rows, for all of this page; a click on it lets go."),
    place, el("p", { class: "chosen" }, told, all));
}

// The table: a button in each head sorts, one in each row opens its runs.
function table({ head, runHead, settings }, shown) {
  const { rows } = shown, columns = head.map((_, i) => rows.map(({ values }) => values[i]));
  const align = columns.map((values, i) =>
    i >= settings || values.every((value) => value === null || typeof value === "number") ? "number" : null);
  const cell = (text, i) => el("td", { class: align[i] }, text);
  const lines = new Map(rows.map((row) => [row, line(row)]));
  const body = el("tbody", {}, rows.flatMap((row) => lines.get(row).both));
  const heads = head.map((label, i) => el("th", { scope: "col", class: align[i] },
    el("button", { type: "button", onclick: () => sort(i) }, label)));

  function line({ id, cells, runs, label }) {
    const inner = el("td", { colspan: head.length + 1 }), under = el("tr", { class: "runs", hidden: true }, inner);
    const swatch = el("i"), told = { "aria-expanded": "false", "aria-label": `Runs of ${label}` };
    const opener = el("button", { class: "opener", ...told, onclick: () => open(under.hidden) }, swatch);
    const open = (more) => {
      opener.setAttribute("aria-expanded", String(more));
      under.hidden = !more;
      if (inner.firstChild) return;
      const linked = runs.map(([path, href, ...texts]) => [el("a", { href }, path), ...texts]);
      inner.append(scrolled(`Runs of ${label}`, ["run", ...runHead], linked));
    };
    const row = el("tr", { id }, el("td", {}, opener), cells.map(cell));
    return { row, under, both: [row, under], swatch, open };
  }

  function sort(column) {
    const now = heads[column].getAttribute("aria-sort"), best = /validation|test/.test(head[column]); // at first on top
    const way = (now ? now === "ascending" : best) ? "descending" : "ascending", sign = way === "ascending" ? 1 : -1;
    heads.forEach((th, i) => (i === column ? th.setAttribute("aria-sort", way) : th.removeAttribute("aria-sort")));
    shown.order = rows.toSorted((one, other) => {
      const a = one.values[column], b = other.values[column];
      if (a === null || b === null) return (a === null) - (b === null);
      return sign * (typeof a === "number" && typeof b === "number" ? a - b : words.compare(a, b));
    });
    body.append(...shown.order.flatMap((row) => lines.get(row).both));
    shown.draw();
  }

  const light = (target) => {
    const id = target?.closest("tr[id]")?.id, lit = rows.find((row) => row.id === id) ?? null;
    if (lit === shown.lit) return;
    shown.lit = lit;
    requestAnimationFrame(() => shown.draw());
  };
  for (const kind of ["pointerover", "focusin"]) body.addEventListener(kind, ({ target }) => light(target));
  for (const kind of ["pointerleave", "focusout"]) body.addEventListener(kind, () => light(null));
  addEventListener("hashchange", () => {
    const wanted = lines.get(rows.find(({ id }) => `#${id}` === location.hash));
    wanted?.open(true);
    wanted?.row.scrollIntoView({ block: "center" });
  });
  shown.parts.push((visible, colors) => {
    const passing = new Set(visible);
    for (const [row, { row: element, under, swatch }] of lines) {
      for (const part of [element, under]) part.classList.toggle("away", !passing.has(row));
      swatch.style.background = colors.get(row) ?? "none";
    }
  });
  const top = el("thead", {}, el("tr", {}, el("th", {}, el("span", { class: "unseen" }, "runs")), heads));
  return section("Table", el("div", { class: "wide all", ...region("Table of all rows") }, el("table", {}, top, body)));
}

const region = (label) => ({ tabindex: 0, role: "region", "aria-label": label }); // scrolled by keys too
const words = new Intl.Collator("en", { numeric: true });

function scrolled(label, head, lines) {
  return el("div", { class: "wide", ...region(label) }, el("table", {},
    el("thead", {}, el("tr", {}, head.map((text) => el("th", { scope: "col" }, text)))),
    el("tbody", {}, lines.map((line) => el("tr", {}, line.map((cell) => el("td", {}, cell)))))));
}

// Runs that are not done, with the reason.
function unfinished({ left }) {
  if (!left.length) return null;
  const lines = left.map(([path, href, state, reason]) => [state, el("a", { href }, path), reason]);
  return section("Not done", el("details", { open: left.length <= 10 },
    el("summary", {}, `${count(left.length)} ${left.length === 1 ? "run" : "runs"}`),
    scrolled("Runs that are not done", ["state", "run", "reason"], lines)));
}

function notes({ notes }) {
  return notes.length ? el("ul", { class: "faint" }, notes.map((note) => el("li", {}, note))) : null;
}
