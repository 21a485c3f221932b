// The page of a folder of runs: the list of them, and what is shown of those that are chosen.

import { count, el } from "dom";
import { Live } from "live";
import { LiveSource } from "recording";

const MOST = 200; // runs listed, unless somebody looks for a word
const TABS = { live: "Live", explore: "Explore" };
const ENDED = new Set(["done", "failed", "interrupted", "killed", "pruned", "damaged"]);

class App {
  constructor(root) {
    this.source = new LiveSource();
    this.chosen = null; // ids, the first's panels are shown; null: the newest run, whichever that is
    this.tab = "live";
    this.opened = new Map(); // sweep -> whether somebody has unfolded it
    this.build(root);
    this.live = new Live(this.stages.live, this.source);
    this.source.listeners.add(() => this.update());
    addEventListener("hashchange", () => this.fromAddress());
    this.fromAddress();
  }

  build(root) {
    this.filter = el("input", { type: "search", placeholder: "find a run", "aria-label": "find a run", oninput: () => this.list(true) });
    this.follow = el("button", { type: "button", "aria-pressed": true, onclick: () => this.choose(null) }, "follow the newest run");
    this.runs = el("div", { class: "runs" });
    this.toggle = el("button", { type: "button", class: "menu", "aria-expanded": false, onclick: () => this.menu() }, "runs");
    this.side = el("aside", { class: "side", "aria-label": "runs" }, this.follow, this.filter, this.runs);
    this.ended = el("p", { class: "ended", role: "status", hidden: true },
      "The server of this page has ended. What is here stays; a run that starts at the same address is shown here.");
    this.stages = {};
    this.tabs = Object.entries(TABS).map(([name, words]) => {
      this.stages[name] = el("div", { role: "tabpanel", id: name, "aria-labelledby": `tab-${name}`, hidden: name !== this.tab });
      return el("button", { type: "button", role: "tab", id: `tab-${name}`, "aria-controls": name, "data-tab": name, onclick: () => this.turn(name) }, words);
    });
    const tablist = el("div", { role: "tablist", "aria-label": "views of a run", onkeydown: (event) => this.tabKey(event) }, this.tabs);
    root.append(el("header", { class: "top" }, el("h1", {}, "mnist_lab"), tablist, this.toggle), this.ended,
      el("div", { class: "app" }, this.side, el("main", {}, Object.values(this.stages))));
  }

  tabKey(event) {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by) return;
    const names = Object.keys(TABS);
    this.turn(names[(names.indexOf(this.tab) + by + names.length) % names.length]);
    this.tabs.find((tab) => tab.dataset.tab === this.tab).focus();
    event.stopPropagation();
  }

  turn(name) {
    this.tab = name;
    this.say();
    this.update();
  }

  // Fill the tab Explore, when it is open, for the runs that are chosen: the first, and the second beside it.
  async explore() {
    const { ids } = this;
    const wanted = JSON.stringify([ids.slice(0, 2), this.checkpoint]);
    if (this.tab !== "explore" || !ids.length || wanted === this.explored) return;
    this.explored = wanted;
    const place = el("div", { class: "x-page" }, el("p", { class: "faint x-note" }, "reading the network ..."));
    this.stages.explore.replaceChildren(place);
    try {
      const [{ mount }, { connect }] = await Promise.all([import("explore"), import("remote")]);
      const engine = await connect(ids[0], this.checkpoint);
      const beside = ids.length > 1 ? await connect(ids[1]) : null;
      if (wanted !== this.explored) return;
      const others = [...this.source.runs.keys()].filter((id) => id !== ids[0]).slice(0, MOST);
      const runs = [ids[0], ...ids.slice(1, 2), ...others.filter((id) => id !== ids[1])].map((key) => ({ key, label: key }));
      place.replaceChildren();
      await mount(place, engine, { beside, runs, connect });
    } catch (error) {
      place.replaceChildren(el("p", { class: "x-note x-warn", role: "alert" }, error.message,
        " ", el("button", { type: "button", onclick: () => { this.explored = null; this.explore(); } }, "try again")));
    }
  }

  menu(open = !this.side.classList.contains("open")) {
    this.side.classList.toggle("open", open);
    this.toggle.setAttribute("aria-expanded", open);
  }

  // The address says what is shown: #tab=explore&run=softmax/a&run=softmax/b
  fromAddress() {
    const said = new URLSearchParams(location.hash.slice(1));
    this.chosen = said.getAll("run").length ? said.getAll("run") : null;
    this.tab = said.get("tab") in TABS ? said.get("tab") : "live";
    this.checkpoint = said.get("checkpoint") ?? "last";
    this.update();
  }

  choose(ids) {
    this.chosen = ids?.length ? ids : null;
    this.checkpoint = "last";
    this.say();
    this.menu(false);
    this.update();
  }

  // Put into the address what is shown.
  say() {
    const query = new URLSearchParams((this.chosen ?? []).map((id) => ["run", id]));
    if (this.tab !== "live") query.set("tab", this.tab);
    if (this.checkpoint !== "last") query.set("checkpoint", this.checkpoint);
    history.replaceState(null, "", query.size ? `#${query}` : location.pathname);
  }

  // The runs to show: those that were chosen, those that the command named, or the newest.
  get ids() {
    const { runs, named } = this.source;
    const wanted = (this.chosen ?? (named.length ? named : [])).filter((id) => runs.has(id));
    if (wanted.length) return wanted;
    const newest = this.newest();
    return newest ? [newest] : [];
  }

  newest() {
    const running = [...this.source.runs].filter(([, run]) => run.state === "running");
    const among = running.length ? running : [...this.source.runs];
    return among.reduce((best, one) => (!best || one[1].started > best[1].started ? one : best), null)?.[0];
  }

  update() {
    this.live.show(this.ids);
    for (const tab of this.tabs) {
      const chosen = tab.dataset.tab === this.tab;
      tab.setAttribute("aria-selected", chosen);
      tab.tabIndex = chosen ? 0 : -1;
      this.stages[tab.dataset.tab].hidden = !chosen;
    }
    this.explore();
    this.ended.hidden = !this.source.ended;
    const following = !this.chosen && !this.source.named.length;
    this.follow.setAttribute("aria-pressed", following);
    this.follow.hidden = Boolean(this.source.named.length);
    this.list();
  }

  // The list is made anew when a run comes, goes or changes its state; progress in between changes in place.
  list(now = false) {
    const named = ([id]) => Number(this.source.named.includes(id));
    const runs = [...this.source.runs].sort((a, b) => named(b) - named(a) || b[1].started - a[1].started);
    const { ids } = this;
    const said = JSON.stringify([runs.map(([id, run]) => [id, run.state]), ids]);
    if (now || said !== this.listed) {
      this.listed = said;
      const word = this.filter.value.toLowerCase();
      const most = word ? 2 * MOST : MOST;
      const found = runs.filter(([id, run]) => `${id} ${run.name} ${run.state}`.toLowerCase().includes(word));
      const sweeps = new Map();
      const alone = [];
      for (const one of found.slice(0, most)) {
        const { sweep } = one[1];
        if (!sweep) alone.push(this.item(...one));
        else {
          if (!sweeps.has(sweep)) {
            sweeps.set(sweep, []);
            alone.push(sweep);
          }
          sweeps.get(sweep).push(one);
        }
      }
      const rows = alone.map((one) => (typeof one === "string" ? this.sweep(one, sweeps.get(one)) : one));
      const more = found.length > most ? el("p", { class: "faint" }, `${count(found.length - most)} older runs: find them by a word of their name.`) : null;
      const focused = document.activeElement.dataset?.key; // whoever goes through it with the keyboard stays where they are
      this.runs.replaceChildren(...[...rows, more].filter(Boolean));
      if (focused) this.runs.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
      this.toggle.textContent = `runs (${count(runs.length)})`;
    }
    for (const bar of this.runs.querySelectorAll("progress")) {
      const run = this.source.runs.get(bar.dataset.run);
      if (run) bar.value = this.progress(bar.dataset.run, run);
    }
  }

  progress(id, run) {
    if (ENDED.has(run.state) && run.steps !== undefined) return run.steps;
    return this.source.recordings.get(id)?.stops.at(-1) ?? run.steps ?? 0;
  }

  item(id, run) {
    const { ids } = this;
    const shown = ids[0] === id;
    const where = id.split("/").at(-1);
    const open = el("button", { type: "button", class: "run", "aria-pressed": shown, title: id, "data-key": `run ${id}`, onclick: () => this.choose([id]) },
      el("span", {}, run.name), el("span", { class: `state ${run.state}` }, run.state),
      el("small", { class: "faint" }, `${run.seed !== undefined ? `seed ${run.seed}, ` : ""}${where}`));
    const beside = el("input", {
      type: "checkbox", "data-key": `beside ${id}`, checked: ids.includes(id), disabled: shown, "aria-label": `curves of ${run.name}, ${where}, beside`, title: "show its curves beside",
      onchange: (event) => this.choose(event.target.checked ? [...ids, id] : ids.filter((other) => other !== id)),
    });
    const bar = run.state === "running" && run.max_steps
      ? el("progress", { max: run.max_steps, value: this.progress(id, run), "data-run": id, "aria-label": "steps done" }) : null;
    return el("div", { class: "item" }, beside, open, bar);
  }

  sweep(name, runs) {
    const counts = new Map();
    for (const [, run] of runs) counts.set(run.state, (counts.get(run.state) ?? 0) + 1);
    const done = counts.get("done") ?? 0;
    const total = Math.max(runs[0][1].jobs ?? 0, runs.length);
    const others = [...counts].filter(([state]) => state !== "done").map(([state, times]) => `${times} ${state}`);
    const open = this.opened.get(name) ?? runs.some(([id, run]) => this.ids.includes(id) || run.state === "running");
    const all = runs.map(([id]) => id).slice(0, 40);
    return el("details", { class: "sweep", open },
      el("summary", { "data-key": `sweep ${name}`, onclick: (event) => this.opened.set(name, !event.currentTarget.parentNode.open) }, `sweep ${name}: ${done} of ${total} done${others.length ? `, ${others.join(", ")}` : ""}`,
        el("progress", { max: total, value: runs.filter(([, run]) => ENDED.has(run.state)).length, "aria-label": "runs that ended" })),
      el("button", { type: "button", onclick: () => this.choose(all) }, "compare all"),
      runs.map(([id, run]) => this.item(id, run)));
  }
}

export function start(root) {
  return new App(root);
}
