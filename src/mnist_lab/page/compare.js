// Runs side by side: which belong together, and what tells them apart.

import { short } from "dom";
import { endOf } from "recording";

const ASIDE = new Set(["seed", "name", "data.root", "resume"]); // settings that make no run another one

// Groups of runs that differ in their seed only: [{ label, ids }], in the order of `ids`.
export function grouped(runs, ids) {
  const all = ids.map((id) => ({ name: runs.get(id)?.name ?? id, ...runs.get(id)?.settings }));
  const keys = [...new Set(all.flatMap((settings) => Object.keys(settings)))].filter((key) => !ASIDE.has(key));
  const text = (settings, key) => JSON.stringify(settings[key]);
  const differing = keys.filter((key) => new Set(all.map((settings) => text(settings, key))).size > 1);
  const groups = new Map();
  ids.forEach((id, i) => {
    const key = JSON.stringify([all[i].name, ...differing.map((name) => text(all[i], name))]);
    if (!groups.has(key)) groups.set(key, { settings: all[i], ids: [] });
    groups.get(key).ids.push(id);
  });
  const found = [...groups.values()];
  const labels = found.map((group) => labelOf(group, found, differing));
  return found.map((group, i) => {
    const again = labels.slice(0, i).filter((label) => label === labels[i]).length;
    const seeds = group.ids.length > 1 ? ` (${group.ids.length} seeds)` : "";
    return { label: labels[i] + (again ? ` (${again + 1})` : "") + seeds, ids: group.ids };
  });
}

// The name, and the settings that differ among those of that name; those that only follow from another are left out.
function labelOf({ settings }, groups, differing) {
  const alike = groups.filter((group) => group.settings.name === settings.name);
  const varied = differing.filter((key) => new Set(alike.map((group) => JSON.stringify(group.settings[key]))).size > 1);
  const patterns = new Set();
  const telling = varied.filter((key) => {
    const values = alike.map((group) => JSON.stringify(group.settings[key]));
    const pattern = values.map((value) => values.indexOf(value)).join();
    return patterns.size === patterns.add(pattern).size ? false : true;
  });
  const words = telling.slice(0, 3).map((key) => `${key.split(".").at(-1)} ${short(settings[key])}`);
  return [settings.name, ...words].join(", ");
}

// A line of a chart up to `step`: of one curve, or the mean of several with a band from the lowest to the highest.
export function lineOf(curves, step) {
  const cut = curves.map(({ steps, values }) => ({ steps: steps.slice(0, endOf(steps, step)), values }));
  const there = cut.filter(({ steps }) => steps.length);
  if (there.length < 2) return there.length ? { x: there[0].steps, y: there[0].values } : { x: [], y: [] };
  const at = new Map();
  for (const { steps, values } of there) {
    steps.forEach((x, i) => {
      if (!at.has(x)) at.set(x, []);
      at.get(x).push(values[i]);
    });
  }
  const x = [...at.keys()].sort((a, b) => a - b);
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  return {
    x,
    y: x.map((place) => mean(at.get(place))),
    low: x.map((place) => Math.min(...at.get(place))),
    high: x.map((place) => Math.max(...at.get(place))),
  };
}
