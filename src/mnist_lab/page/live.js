// The six panels of the codelab "TensorFlow and deep learning, without a PhD": live, and again later.

import { Chart, number, percents, series } from "chart";
import { grouped, lineOf } from "compare";
import { Mosaic, mosaicTitle } from "digits";
import { count, download, el, percent } from "dom";
import { FileSource, endOf } from "recording";

const ALL = [1, 2, 3, 4, 5, 6];
const CHOICES = { 0: ALL, 1: [1], 2: [2], 3: [3], 4: [4], 5: [5], 6: [6], 7: [1, 2], 8: [4, 5], 9: [3, 6] };
const MOVES = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -Infinity, End: Infinity };
const SPEEDS = [1, 2, 5, 10, 20, 50]; // frames a second
const PARTS = { val: "validation", test: "test" };
// Between which of the nine values of a frame a band lies, and what it holds.
const BANDS = [[0, 8, "all"], [1, 7, "96 % of them"], [2, 6, "80 %"], [3, 5, "the middle half"]];
const MEDIAN = 4;
const [PLAY, PAUSE] = ["M2 0l10 6-10 6z", "M2 0h3v12H2zM8 0h3v12H8z"];

const icon = (path) => el("svg", { width: 13, height: 12, "aria-hidden": "true" }, el("path", { d: path, fill: "currentColor" }));

export class Live {
  constructor(root, source) {
    this.source = source;
    this.ids = [];
    this.at = null; // the step shown; null: the newest
    this.playing = false; // of a replay
    this.speed = 10;
    this.loading = 0; // frames whose digits are on their way
    this.panels = ALL;
    this.offered = new Set(); // curves that were hidden once, until somebody wants them
    this.build(root);
    source.listeners.add(() => this.soon());
    addEventListener("keydown", (event) => this.key(event));
    this.soon();
  }

  // Show these runs: the panels of the first, with the curves of the others.
  show(ids) {
    if (ids.join() === this.ids.join()) return;
    if (ids[0] !== this.ids[0]) {
      this.at = null;
      for (const chart of Object.values(this.charts)) chart.view = null;
    }
    this.ids = ids;
    this.source.show(ids);
    this.drawn = null;
    this.soon();
  }

  get recording() {
    return this.ids.length ? this.source.recording(this.ids[0]) : null;
  }

  // Whether the first run still trains.
  get running() {
    return this.source.live && !this.source.ended && this.source.runs.get(this.ids[0])?.state === "running";
  }

  // ---- the page ----

  build(root) {
    this.status = el("p", { class: "live-status" });
    this.values = el("p", { class: "live-values" });
    this.told = el("p", { class: "unseen", "aria-live": "polite" });
    this.charts = {};
    this.mosaics = {};
    const figures = ALL.map((panel) => {
      const body = el("div", { class: "panel-body" });
      this[`figure${panel}`] = el("section", { class: `panel panel-${panel}`, "data-panel": panel }, body);
      return this[`figure${panel}`];
    });
    const chart = (panel, options) => {
      this.charts[panel] = new Chart(this[`figure${panel}`].firstChild, { x: { label: "step", integer: true }, ...options });
    };
    chart(1, { title: "1  accuracy", y: { format: percents, max: 1 } });
    chart(2, { title: "2  cross-entropy of a hundred digits", y: { min: 0 } });
    chart(4, { title: "4  weights: where they lie", y: {} });
    chart(5, { title: "5  biases: where they lie", y: {} });
    for (const [panel, columns, scale] of [[3, 10, false], [6, 40, true]]) {
      const title = el("div", { class: "chart-title" });
      const body = el("div", { class: "mosaic" });
      this[`figure${panel}`].firstChild.replaceWith(title, body);
      this.mosaics[panel] = new Mosaic(body, { columns, scale });
      this.mosaics[panel].title = title;
    }
    this.grid = el("div", { class: "panels" }, figures);
    root.classList.add("live");
    root.append(this.status, this.controls(), this.values, this.grid, this.told);
  }

  controls() {
    const button = (text, label, onclick, more = {}) => el("button", { type: "button", title: label, "aria-label": label, onclick, ...more }, text);
    this.slider = el("input", {
      type: "range", min: 0, max: 0, step: 1, "aria-label": "frame", oninput: () => this.go(Number(this.slider.value)),
    });
    this.play = button(icon(PAUSE), "pause (space)", () => this.toggle());
    this.newest = button("live", "follow training (End)", () => this.move(Infinity));
    const speed = el("select", { "aria-label": "frames a second", title: "frames a second", onchange: () => { this.speed = Number(speed.value); } },
      SPEEDS.map((value) => el("option", { value, selected: value === this.speed }, `${value} / s`)));
    this.choices = Object.entries(CHOICES).map(([key, panels]) =>
      button(key === "0" ? "all" : panels.join("+"), `${key === "0" ? "all panels" : `panel ${panels.join(" and ")} alone`} (${key})`,
        () => this.choose(panels), { "aria-pressed": panels === ALL, "data-key": key, class: panels.length === 2 ? "wide-only" : "" }));
    this.zoom = button("zoom", "zoom into a box (O)", () => this.toggleZoom(), { "aria-pressed": false });
    this.log = button("log", "logarithmic steps and cross-entropy (L)", () => this.toggleLog(), { "aria-pressed": false });
    return el("div", { class: "live-controls", role: "toolbar", "aria-label": "view" },
      el("span", { class: "player" }, this.play, this.slider, this.newest, speed),
      el("span", { class: "choices" }, this.choices),
      el("span", { class: "tools" }, this.zoom, this.log, button("reset", "reset zooms (H)", () => this.reset()),
        button("PNG", "save as PNG (Ctrl-S)", () => this.save("png")), button("SVG", "save as SVG", () => this.save("svg"))));
  }

  choose(panels) {
    this.panels = panels;
    for (const panel of ALL) this[`figure${panel}`].hidden = !panels.includes(panel);
    this.grid.dataset.shown = panels.length;
    for (const button of this.choices) button.setAttribute("aria-pressed", CHOICES[button.dataset.key] === panels);
  }

  toggleZoom() {
    this.zooming = !this.zooming;
    this.zoom.setAttribute("aria-pressed", this.zooming);
    for (const chart of Object.values(this.charts)) chart.zoomBox(this.zooming);
  }

  toggleLog() {
    this.logarithmic = !this.logarithmic;
    this.log.setAttribute("aria-pressed", this.logarithmic);
    for (const chart of Object.values(this.charts)) {
      chart.x.log = this.logarithmic;
      chart.reset();
    }
    this.charts[2].y = this.logarithmic ? { log: true } : { min: 0 };
    this.drawn = null;
    this.soon();
  }

  reset() {
    for (const chart of Object.values(this.charts)) chart.reset();
  }

  key(event) {
    const typing = event.target.matches?.("input:not([type=range]), textarea, select");
    if (typing || this.grid.closest("[hidden]")) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if ((event.ctrlKey || event.metaKey) && key === "s") this.save("png");
    else if (event.ctrlKey || event.metaKey || event.altKey) return;
    else if (key in CHOICES) this.choose(CHOICES[key]);
    else if (key === "Escape") this.choose(ALL);
    else if (key === " " && !event.target.matches?.("button, summary")) this.toggle();
    else if (key in MOVES && event.target !== this.slider) this.move(MOVES[key]);
    else if (key === "o") this.toggleZoom();
    else if (key === "l") this.toggleLog();
    else if (key === "h") this.reset();
    else return;
    event.preventDefault();
  }

  // ---- time ----

  // Whether the picture moves: with training, or in a replay.
  get moving() {
    return this.at === null ? this.running : this.playing;
  }

  toggle() {
    const stops = this.recording?.stops ?? [];
    if (this.running) this.at = this.at === null ? stops.at(-1) ?? null : null;
    else {
      this.playing = !this.moving;
      if (this.playing && (this.at === null || this.at >= stops.at(-1))) this.at = stops[0] ?? null;
    }
    this.soon();
  }

  // Go to the stop with this index.
  go(index) {
    const stops = this.recording?.stops ?? [];
    if (!stops.length) return;
    this.at = stops[Math.max(0, Math.min(index, stops.length - 1))];
    this.playing = false;
    this.soon();
  }

  move(by) {
    const stops = this.recording?.stops ?? [];
    if (by === Infinity) {
      this.at = null;
      this.soon();
      return;
    }
    this.go(by === -Infinity ? 0 : endOf(stops, this.at ?? Infinity) - 1 + by);
  }

  // Draw before the browser paints next, once for all that has changed until then.
  soon() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.advance();
      this.draw();
    });
  }

  advance() {
    if (!this.playing || this.at === null) return;
    const stops = this.recording?.stops ?? [];
    const now = performance.now();
    if (now >= (this.nextAt ?? 0) && !this.loading) { // over a slow line, digits take longer than a frame
      this.nextAt = now + 1000 / this.speed;
      const next = stops[endOf(stops, this.at)];
      if (next !== undefined) this.at = next;
      else {
        this.at = null;
        this.playing = false;
      }
    }
    if (this.playing) this.soon();
  }

  // ---- drawing ----

  draw() {
    const { recording } = this;
    this.tell();
    if (!recording) return;
    const stops = recording.stops;
    const step = this.at ?? stops.at(-1) ?? 0;
    this.slider.max = Math.max(stops.length - 1, 0);
    this.slider.value = Math.max(endOf(stops, step) - 1, 0);
    this.slider.setAttribute("aria-valuetext", `step ${count(step)}`);
    const does = `${this.moving ? "pause" : "play"} (space)`;
    if (this.play.title !== does) {
      this.play.replaceChildren(icon(this.moving ? PAUSE : PLAY));
      this.play.title = does;
      this.play.setAttribute("aria-label", does);
    }
    this.newest.hidden = !this.running;
    this.newest.setAttribute("aria-pressed", this.at === null);
    const versions = this.ids.map((id) => this.source.recording(id)?.version).join();
    const state = `${step} ${versions} ${this.ids.map((id) => this.source.runs.get(id)?.state)}`;
    if (state === this.drawn) return;
    this.drawn = state;
    this.drawCurves(step);
    this.drawBands(step);
    this.drawDigits(step);
    this.tellValues(step);
  }

  drawCurves(step) {
    const { recording, ids } = this;
    const groups = grouped(this.source.runs, ids);
    const compared = groups.length > 1 || ids.length > 1;
    for (const [panel, kind, factor] of [[1, "accuracy", 1], [2, "loss", 100]]) {
      const scaled = ({ steps, values }) => ({ steps, values: factor === 1 ? values : values.map((value) => factor * value) });
      const lines = [];
      const add = (curves, more) => {
        const line = lineOf(curves.map(scaled), this.at === null ? Infinity : step); // each curve to its own end
        if (line.x.length) lines.push({ ...line, ...more });
      };
      if (!compared) {
        add([recording.curve(`train_${kind}`)], { name: "training batch", color: series(0), width: 0.6 });
        const part = recording.part ?? "val";
        add([recording.curve(`${part}_${kind}`)], { name: PARTS[part], color: series(1), mark: this.markOf(ids[0]) });
      } else {
        groups.forEach(({ label, ids: members }, i) => {
          const recordings = members.map((id) => this.source.recording(id)).filter(Boolean);
          const training = `${label}: training batch`; // noisy: there for those who ask for it in the legend
          if (!this.offered.has(panel + training)) this.charts[panel].hidden.add(training);
          this.offered.add(panel + training);
          if (groups.length < 4) add(recordings.map((one) => one.curve(`train_${kind}`)), { name: training, color: series(i), width: 0.5, dash: "1 4" });
          const curves = recordings.map((one) => one.curve(`${one.part ?? "val"}_${kind}`));
          const mark = members.length === 1 ? this.markOf(members[0]) : undefined;
          add(curves, { name: `${label}: ${PARTS[recordings[0]?.part ?? "val"]}`, color: series(i), mark });
        });
      }
      this.charts[panel].draw({ lines, range: this.at === null ? undefined : { x: this.extent(), y: this.heights(kind, factor) } });
    }
  }

  // In a replay the axes stay where they will be at the end.
  heights(kind, factor) {
    const curves = this.ids.flatMap((id) => ["train", "val", "test"].map((part) => this.source.recording(id)?.curve(`${part}_${kind}`)));
    const [low, high] = rangeOf(curves.flatMap((curve) => (curve?.steps.length > 1 ? curve.values : [])).map((value) => factor * value).filter((value) => value > 0 || !this.logarithmic));
    return [kind === "loss" && !this.logarithmic ? 0 : low, high];
  }

  // A word at the end of a curve whose run ended before its time.
  markOf(id) {
    const state = this.source.runs.get(id)?.state;
    return ["failed", "interrupted", "killed", "pruned"].includes(state) && this.at === null ? state : undefined;
  }

  extent() {
    const steps = this.ids.flatMap((id) => {
      const stops = this.source.recording(id)?.stops ?? [];
      const first = this.logarithmic ? stops.find((step) => step > 0) : stops[0];
      return first === undefined ? [] : [first, stops.at(-1)];
    });
    return steps.length ? [Math.min(...steps), Math.max(...steps, 1)] : undefined;
  }

  drawBands(step) {
    const { recording } = this;
    const frames = recording.frames.slice(0, endOf(recording.steps, step));
    for (const [panel, name, colour] of [[4, "weights", series(0)], [5, "biases", series(2)]]) {
      const known = frames.filter((frame) => frame[name]);
      if (known.length === 1) known.push({ ...known[0], step: known[0].step + 1 }); // a single moment has no width
      const x = known.map((frame) => frame.step);
      const areas = BANDS.map(([low, high, label], i) => ({
        name: label, color: colour, opacity: 0.18 + 0.1 * i, x,
        low: known.map((frame) => frame[name][low]), high: known.map((frame) => frame[name][high]),
      }));
      const median = { name: "median", color: "var(--ink)", width: 0.5, x, y: known.map((frame) => frame[name][MEDIAN]) };
      const all = () => recording.frames.flatMap((frame) => (frame[name] ? [frame[name][0], frame[name].at(-1)] : []));
      const range = this.at === null ? undefined : { x: this.extent(), y: rangeOf(all()) };
      this.charts[panel].draw(known.length ? { areas, lines: [median], range } : {});
      this[`figure${panel}`].classList.toggle("nothing", !known.length);
      this[`figure${panel}`].classList.toggle("none", frames.length > 0);
    }
  }

  async drawDigits(step) {
    const { recording } = this;
    const frame = recording.frameAt(step);
    for (const panel of [3, 6]) this[`figure${panel}`].classList.toggle("nothing", !frame);
    if (!frame) {
      this.mosaics[3].title.textContent = "3  training digits";
      this.mosaics[6].title.textContent = "6  watched digits";
      return;
    }
    this.loading += 1;
    const [batch, watched] = await Promise.all([recording.batch(frame), recording.watched()]);
    this.loading -= 1;
    if (this.recording !== recording || recording.frameAt(this.at ?? Infinity) !== frame) return; // too late
    if (batch) {
      const { classes } = watched ?? {};
      this.mosaics[3].draw({ ...batch, classes: named(classes) }, "training digits");
      this.mosaics[3].title.textContent = `3  ${mosaicTitle(this.mosaics[3], "train")}`;
    }
    this.figure6.classList.toggle("nothing", !watched);
    if (watched) {
      const predictions = recording.predictionsAt(frame, watched.labels.length);
      this.mosaics[6].draw({ ...watched, classes: named(watched.classes), predictions }, `${PARTS[watched.part]} digits`);
      this.mosaics[6].title.textContent = `6  ${mosaicTitle(this.mosaics[6], watched.part)}`;
    } else this.mosaics[6].title.textContent = "6  nothing is held out: raise data.validation_size to watch";
  }

  // ---- in words ----

  tell() {
    const run = this.source.runs.get(this.ids[0]);
    const text = run ? describe(run, this.recording, this.source) : this.source.live ? "No run yet: this page waits for one." : "";
    if (this.status.textContent === text) return;
    if (this.lastState !== undefined && this.lastState !== run?.state) this.told.textContent = text;
    this.lastState = run?.state;
    this.status.textContent = text;
    document.title = run ? `${run.name}: ${run.state}` : "mnist_lab";
  }

  tellValues(step) {
    const { recording } = this;
    const last = (name) => {
      const { steps, values } = recording.curve(name);
      return values[endOf(steps, step) - 1];
    };
    const part = recording.part ?? "val";
    const said = recording.stops.length ? [`step ${count(step)}`] : [];
    if (last("train_accuracy") !== undefined) said.push(`training batch ${percent(last("train_accuracy"), 1)}, cross-entropy ${number(100 * last("train_loss"))}`);
    if (last(`${part}_accuracy`) !== undefined) said.push(`${PARTS[part]} ${percent(last(`${part}_accuracy`))}, cross-entropy ${number(100 * last(`${part}_loss`))}`);
    this.values.textContent = said.join("  ·  ");
  }

  // ---- files ----

  // One picture of the panels that are shown, as the text of an SVG file.
  svg() {
    const [gap, head] = [16, 40];
    const box = this.grid.getBoundingClientRect();
    const [width, height] = [Math.round(box.width), Math.round(box.height)];
    const style = getComputedStyle(this.grid);
    const colour = (name) => style.getPropertyValue(name).trim();
    const parts = this.panels.map((panel) => {
      const figure = this[`figure${panel}`].getBoundingClientRect();
      const [x, y] = [Math.round(figure.left - box.left + gap), Math.round(figure.top - box.top + head)];
      if (this.charts[panel]) {
        return `<svg x="${x}" y="${y}"${this.charts[panel].svg().slice(4)}`;
      }
      const mosaic = this.mosaics[panel];
      const place = mosaic.canvas.getBoundingClientRect();
      return `<text x="${x}" y="${y + 15}" font-weight="600" fill="${colour("--ink")}">${escaped(mosaic.title.textContent)}</text>`
        + `<image x="${x}" y="${Math.round(place.top - box.top + head)}" width="${place.width}" height="${place.height}" href="${mosaic.href()}"/>`;
    });
    const title = `${this.status.textContent}  ·  ${this.values.textContent}`;
    return `<svg xmlns="http://www.w3.org/2000/svg" width="${width + 2 * gap}" height="${height + head + gap}" font-family="system-ui, sans-serif" font-size="14">`
      + `<rect width="100%" height="100%" fill="${colour("--paper")}"/><text x="${gap}" y="24" font-weight="600" fill="${colour("--ink")}">${escaped(title)}</text>`
      + `${parts.join("")}</svg>`;
  }

  async save(kind) {
    const step = this.at ?? this.recording?.stops.at(-1) ?? 0;
    const name = `${this.source.runs.get(this.ids[0])?.name ?? "mnist_lab"}-${String(step).padStart(6, "0")}.${kind}`;
    const text = this.svg();
    if (kind === "svg") download(name, text, "image/svg+xml");
    else download(name, await pngOf(text));
  }
}

// The least and the greatest of values that are numbers.
function rangeOf(values) {
  const numbers = values.filter(Number.isFinite);
  return numbers.length ? [numbers.reduce((a, b) => Math.min(a, b)), numbers.reduce((a, b) => Math.max(a, b))] : [0, 1];
}

const escaped = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;");

// The names of classes, where they are not the digits themselves.
const named = (classes) => (classes?.some((name, digit) => name !== String(digit)) ? classes : undefined);

async function pngOf(svg) {
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svg)}`;
  await image.decode();
  const ratio = Math.max(devicePixelRatio, 2);
  const canvas = el("canvas", { width: image.width * ratio, height: image.height * ratio });
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

// How a run stands, in a line.
export function describe(run, recording, source) {
  const steps = run.state === "running" ? recording?.stops.at(-1) ?? 0 : run.steps ?? recording?.stops.at(-1);
  const how = run.max_steps && run.state !== "done" ? `${count(steps ?? 0)} of ${count(run.max_steps)} steps` : `${count(steps)} steps`;
  const reached = [
    run.state === "done" && run.val_accuracy !== undefined && `validation ${percent(run.val_accuracy)}`,
    run.test_accuracy !== undefined && `test ${percent(run.test_accuracy)}`,
  ].filter(Boolean).join(", ");
  const state = source.ended && run.state === "running" ? "the page's server has ended; it may still train" : run.state;
  const parts = [run.name, run.seed !== undefined && `seed ${run.seed}`, run.data, how, state + (run.error ? `: ${run.error}` : ""), reached];
  return parts.filter(Boolean).join("  ·  ");
}

// A page that replays the runs in it.
export function start(root, data) {
  const source = new FileSource(data);
  const live = new Live(root, source);
  live.show(data.named);
  return live;
}
