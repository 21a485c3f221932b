// The report over many runs. report_page.py groups, names and measures them; this shows, sorts and filters.

import { Chart, legendButton, number, percents, series } from "chart";
import { count, download, el } from "dom";
import { Parallel } from "parallel";

const COLORED = 8; // rows, the first in the table
const GREY = 300; // other rows whose curves are drawn

export function start(root, data) {
  const rows = data.rows.map((row, number) => ({ ...row, number }));
  const shown = { order: rows, passing: new Set(rows.map(({ number }) => number)), lit: -1 }; // lit: the row under the pointer
  const views = [];
  const draw = () => {
    const visible = shown.order.filter(({ number }) => shown.passing.has(number));
    const colors = new Map(visible.slice(0, COLORED).map(({ number }, i) => [number, series(i)]));
    if (shown.lit >= 0 && !colors.has(shown.lit)) colors.set(shown.lit, "var(--ink)");
    for (const view of views) view(visible, colors, shown.lit);
  };
  root.className = "report";
  root.append(...[
    heading(data), curves(data, rows, views), costs(data, rows, views), settings(data, rows, shown, views, draw),
    table(data, rows, shown, views, draw), unfinished(data), notes(data),
  ].filter(Boolean));
  draw();
}

const section = (title, ...content) => el("section", {}, el("h2", {}, title), ...content);

// "36 runs", how they ended, and which row is the best.
function heading({ place, states, rows, head, settings }) {
  const total = Object.values(states).reduce((a, b) => a + b, 0), ended = Object.entries(states).filter(([name]) => name !== "done");
  const best = rows.find(({ accuracy: [mean] }) => mean !== null);
  const told = ended.length ? `${states.done ?? 0} done, ${ended.map(([name, n]) => `${n} ${name}`).join(", ")}. ` : "";
  return el("header", {},
    el("h1", {}, `${count(total)} ${total === 1 ? "run" : "runs"}`, el("span", { class: "faint" }, ` in ${place}`)),
    el("p", {}, told, best && rows.length > 1 && `Best on the ${best.part} images: `,
      best && rows.length > 1 && el("strong", {}, best.label), best && rows.length > 1 && `, ${best.cells[best.part === "test" ? head.indexOf("test") : settings + 1]}.`));
}

// A chart with a button for each file it can be saved as.
function figure(options) {
  const place = el("div"), chart = new Chart(place, options), name = options.title.toLowerCase().replace(/[^a-z0-9]+/g, "-");
  const save = el("div", { class: "save", role: "group", "aria-label": `Save ${options.title}` },
    el("button", { type: "button", onclick: () => download(`${name}.svg`, chart.svg(), "image/svg+xml") }, "SVG"),
    el("button", { type: "button", onclick: async () => download(`${name}.png`, await chart.png(3)) }, "PNG"));
  return { chart, element: el("div", { class: "figure" }, place, save) };
}

// Learning curves: the first rows of the table in colour, with a band over their seeds; the others grey.
function curves({ steps }, rows, views) {
  const kinds = [["accuracy", percents, false], ["loss", number, true]].filter((_, kind) => rows.some(({ curves }) => curves[kind]));
  if (!kinds.length) return null;
  const parts = new Set(rows.filter(({ curves }) => curves[0] ?? curves[1]).map(({ part }) => part));
  const what = parts.size > 1 ? "validation, dashed: test, watched while training" : parts.has("test") ? "test, watched while training" : "validation";
  const charts = [], legend = el("div", { class: "chart-legend", role: "group", "aria-label": "Curves shown" });
  const figures = kinds.map(([kind, format, log]) => {
    const { chart, element } = figure({
      title: `${kind === "loss" ? "Loss" : "Accuracy"} while training`, x: { label: "step", integer: true, min: 0 },
      y: { label: `${kind === "loss" ? "cross-entropy" : kind} (${what})`, format, log }, legend: false, firstOnTop: true,
    });
    charts.push(chart);
    return element;
  });
  const dashed = (part) => (part === "test" && parts.size > 1 ? "7 4" : null);
  const toggle = (label) => {
    for (const chart of charts) chart.toggle(label);
    for (const button of legend.children) button.setAttribute("aria-pressed", String(!charts[0].hidden.has(button.textContent)));
  };
  views.push((visible, colors, lit) => {
    const drawn = visible.filter(({ curves }) => curves.some(Boolean)).slice(0, COLORED + GREY);
    charts.forEach((chart, i) => chart.draw({
      lines: drawn.filter(({ curves }) => curves[i]).map(({ curves, label, part, number }) => {
        const [at, y, low, high] = curves[i], color = colors.get(number), x = steps[at];
        if (!color) return { color: "var(--line)", width: 0.6, x, y };
        return { name: label, color, dash: dashed(part), width: number === lit ? 2.4 : 1.3, x, y, low, high };
      }),
    }));
    legend.replaceChildren(...drawn.slice(0, COLORED).map(({ label, number, part }) => legendButton(
      { name: label, color: colors.get(number), dash: dashed(part) }, !charts[0].hidden.has(label), () => toggle(label))));
  });
  return section("Learning curves", el("div", { class: "figures" }, figures), legend);
}

// What accuracy costs, with the rows that nothing beats.
function costs({ costs, fronts }, rows, views) {
  const figures = costs.map((label, cost) => {
    const known = rows.filter(({ costs, accuracy }) => costs[cost] !== null && accuracy[0] !== null);
    const all = known.map(({ costs }) => costs[cost]), low = Math.min(...all), high = Math.max(...all);
    if (known.length < 2 || low === high) return null;
    const { chart, element } = figure({
      title: `Accuracy against ${label}`, x: { label, log: low > 0 && high / low >= 10 }, y: { label: "accuracy", format: percents }, legend: false,
    });
    const front = { color: "var(--ink)", width: 0.7, x: [], y: [] };
    for (const row of fronts[cost]) {
      if (front.x.length) front.y.push(front.y.at(-1)), front.x.push(rows[row].costs[cost]);
      front.x.push(rows[row].costs[cost]);
      front.y.push(rows[row].accuracy[0]);
    }
    views.push((visible, colors, lit) => {
      const points = visible.filter((row) => known.includes(row)).map(({ number, label, part, costs, accuracy: [y, error] }) => ({
        label: `${label} (${part})`, x: costs[cost], y, hollow: part === "test", href: `#row-${number}`,
        ...(colors.has(number) ? { color: colors.get(number), error, size: number === lit ? 1.6 : 1 } : { color: "var(--series-8)", size: 0.7 }) }));
      chart.draw({ points: points.reverse(), lines: [front] });
    });
    return element;
  }).filter(Boolean);
  if (!figures.length) return null;
  const hollow = rows.some(({ part }) => part === "test") ? ", or hollow: of the test images, where none were held out" : "";
  return section("What accuracy costs", el("div", { class: "figures" }, figures),
    el("p", { class: "faint" }, `Accuracy of the validation images${hollow}. The line is the Pareto front: it joins the rows that no other beats at the same cost or less.`));
}

// Settings against accuracy: brushes choose which rows everything else shows.
function settings({ head, settings }, rows, shown, views, draw) {
  if (rows.length < 3 || !settings) return null;
  const axes = head.slice(0, settings).map((label, i) => ({ label, values: rows.map(({ values }) => values[i]) }));
  axes.push({ label: "accuracy", values: rows.map(({ accuracy }) => accuracy[0]), format: percents });
  const place = el("div"), told = el("output", {}), all = el("button", { type: "button", hidden: true, onclick: () => plot.reset() }, "Show all rows");
  const changed = (passing) => {
    shown.passing = new Set(passing);
    all.hidden = passing.length === rows.length;
    told.textContent = `${count(passing.length)} of ${count(rows.length)} rows`;
    draw();
  };
  const plot = new Parallel(place, { axes, title: "Settings and accuracy of each row, with sliders that choose rows", changed });
  views.push((visible, colors) => plot.draw(colors));
  return section("Settings", el("p", { class: "faint" }, "Drag along an axis to choose rows, here and everywhere on this page; a click on it lets go."),
    place, el("p", { class: "chosen" }, told, all));
}

// The table: a button in each head sorts, one in each row opens its runs.
function table({ head, runHead, settings }, rows, shown, views, draw) {
  const align = head.map((_, i) =>
    i >= settings || rows.every(({ values }) => values[i] === null || typeof values[i] === "number") ? "number" : null);
  const heads = head.map((label, i) => el("th", { scope: "col", class: align[i] },
    el("button", { type: "button", onclick: () => sort(i) }, label)));
  const body = el("tbody"), lines = rows.map((row) => line(row));
  let sorted = null, downwards = false;
  const sort = (index) => {
    downwards = sorted === index ? !downwards : /validation|test/.test(head[index]); // the best first
    sorted = index;
    heads.forEach((th, i) => (i === index ? th.setAttribute("aria-sort", downwards ? "descending" : "ascending") : th.removeAttribute("aria-sort")));
    const order = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true }));
    shown.order = rows.toSorted(({ values: { [index]: a } }, { values: { [index]: b } }) =>
      a === null || b === null ? (a === null) - (b === null) : (downwards ? -1 : 1) * order(a, b));
    body.append(...shown.order.flatMap(({ number }) => [lines[number].row, lines[number].runs]));
    draw();
  };
  function line({ cells, runs, label, number: index }) {
    const inner = el("td", { colspan: head.length + 1 });
    const opener = el("button", { type: "button", class: "opener", "aria-expanded": "false", "aria-label": `Runs of ${label}`, onclick: () => open() }, el("i"), "▸");
    const under = el("tr", { class: "runs", hidden: true }, inner);
    const open = (more = opener.getAttribute("aria-expanded") === "false") => {
      opener.setAttribute("aria-expanded", String(more));
      under.hidden = !more;
      if (more && !inner.firstChild) inner.append(scrolled(`Runs of ${label}`, ["run", ...runHead], runs.map(([path, href, ...texts]) => [el("a", { href }, path), ...texts])));
    };
    const row = el("tr", { id: `row-${index}` }, el("td", {}, opener), cells.map((text, i) => el("td", { class: align[i] }, text)));
    return { row, runs: under, open, swatch: opener.firstChild };
  }
  body.append(...lines.flatMap(({ row, runs }) => [row, runs]));
  const light = (number) => {
    if (number === shown.lit) return;
    shown.lit = number;
    requestAnimationFrame(draw);
  };
  for (const kind of ["pointerover", "focusin"])
    body.addEventListener(kind, ({ target }) => light(lines.findIndex(({ row }) => row.contains(target))));
  for (const kind of ["pointerleave", "focusout"]) body.addEventListener(kind, () => light(-1));
  views.push((visible, colors) => lines.forEach(({ row, runs, swatch }, number) => {
    row.hidden = !shown.passing.has(number);
    runs.classList.toggle("away", row.hidden);
    swatch.style.background = colors.get(number) ?? "none";
  }));
  const follow = () => {
    const wanted = lines[Number(/^#row-(\d+)$/.exec(location.hash)?.[1] ?? -1)];
    wanted?.open(true);
    wanted?.row.scrollIntoView({ block: "center" });
  };
  addEventListener("hashchange", follow);
  return section("Table", el("div", { class: "wide all", tabindex: 0, role: "region", "aria-label": "Table of all rows" },
    el("table", {}, el("thead", {}, el("tr", {}, el("th", {}, el("span", { class: "unseen" }, "runs")), heads)), body)));
}

function scrolled(label, head, lines) {
  return el("div", { class: "wide", tabindex: 0, role: "region", "aria-label": label }, el("table", {},
    el("thead", {}, el("tr", {}, head.map((text) => el("th", { scope: "col" }, text)))),
    el("tbody", {}, lines.map((line) => el("tr", {}, line.map((cell) => el("td", {}, cell)))))));
}

// Runs that are not done, with the reason.
function unfinished({ left }) {
  if (!left.length) return null;
  const lines = left.map(([path, href, state, reason]) => [state, el("a", { href }, path), reason]);
  return section("Not done", el("details", { open: left.length <= 10 }, el("summary", {}, `${count(left.length)} ${left.length === 1 ? "run" : "runs"}`),
    scrolled("Runs that are not done", ["state", "run", "reason"], lines)));
}

function notes({ notes }) {
  return notes.length ? el("ul", { class: "faint" }, notes.map((note) => el("li", {}, note))) : null;
}
