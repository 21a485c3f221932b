"""The recipes in conf/experiment: what their first lines claim, running them over seeds, the table of what they reach.

``python -m mnist_lab.recipes list`` prints them; ``run`` trains what has not been trained yet and keeps each result in
docs/results; ``table`` writes docs/RESULTS.md, the ladder in README.md, and what each recipe reaches and takes into its
first lines. Lessons are recipes that go wrong on purpose, so they claim nothing and one seed shows it.
"""

import argparse
import csv
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import yaml
from tqdm import tqdm

from mnist_lab.errors import did_you_mean

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results"
SEEDS = (0, 1, 2, 3, 4)  # fixed beforehand
SLOW_SEEDS = SEEDS[:3]  # for recipes that take over a minute
LADDER = ("softmax", "sigmoid_two_hidden", "relu_decay", "strided_dropout", "pooled")


@dataclass(frozen=True)
class Recipe:
    """One file of conf/experiment; its first comment lines hold ``title: text``. ``kind`` is Recipe or Lesson."""

    name: str
    kind: str
    number: int
    title: str
    notes: dict[str, str]
    config: dict[str, Any]

    @property
    def slow(self) -> bool:
        """Whether it takes over a minute: the convolutional networks do."""
        return bool({"override /model": "strided_convnet"} in self.config["defaults"] or "pooled" in self.name)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds it is run with."""
        return SEEDS[:1] if self.kind == "Lesson" else SLOW_SEEDS if self.slow else SEEDS

    @property
    def claim(self) -> tuple[str, float | None, int]:
        """Its kind (about, above, peak or none), the claimed accuracy in percent, and the digits after the point."""
        found = re.match(r"(about|above|peak) ([0-9]+(?:\.([0-9]+))?)%", self.notes.get("claim", ""))
        return (found[1], float(found[2]), len(found[3] or "")) if found else ("none", None, 0)

    @property
    def fingerprint(self) -> str:
        """Changes with every value of the recipe: results of an older one do not count."""
        return hashlib.sha256(json.dumps(self.config, sort_keys=True).encode()).hexdigest()[:12]

    def results(self) -> dict[int, dict[str, Any]]:
        """What is kept of its runs, by seed."""
        kept = {}
        for seed in self.seeds:
            path = RESULTS / self.name / f"seed{seed}.json"
            if path.exists():
                result = json.loads(path.read_text())
                if result["fingerprint"] == self.fingerprint:
                    kept[seed] = result
        return kept


def recipes(kind: str = "Recipe") -> list[Recipe]:
    """All recipes, in the order of the tutorials' story; or all lessons."""
    found = []
    for path in (ROOT / "conf" / "experiment").glob("*.yaml"):
        text = path.read_text()
        head = re.search(rf"^# {kind} (\d+): (.+)$", text, re.MULTILINE)
        if head:
            notes = dict(re.findall(r"^# (\w+):\s+(.+)$", text, re.MULTILINE))
            found.append(Recipe(path.stem, kind, int(head[1]), head[2], notes, yaml.safe_load(text)))
    return sorted(found, key=lambda recipe: recipe.number)


def run(chosen: list[Recipe], seeds: int | None, options: list[str]) -> None:
    """Train every recipe with every seed (or the first ``seeds``) that has no result yet, one process a run."""
    missing = [(r, s) for r in chosen for s in r.seeds[:seeds] if s not in r.results()]
    bar = tqdm(missing, unit="run", dynamic_ncols=True)
    for recipe, seed in bar:
        bar.set_postfix_str(f"{recipe.name} seed {seed}")
        with tempfile.TemporaryDirectory() as folder:
            run_dir = Path(folder) / "run"
            command = ["train.py", f"experiment={recipe.name}", f"seed={seed}", f"hydra.run.dir={run_dir}", *options]
            done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True)
            failed_on_purpose = recipe.kind == "Lesson" and done.returncode == 1
            if done.returncode and not failed_on_purpose:
                sys.exit(f"{recipe.name} seed {seed} failed: {done.stderr.strip().splitlines()[:1]}")
            result = json.loads((run_dir / "result.json").read_text())
            target = RESULTS / recipe.name
            target.mkdir(parents=True, exist_ok=True)
            if seed == 0:
                shutil.copy(run_dir / "metrics.csv", target / "seed0.csv")
            result["provenance"]["command"] = f"python train.py experiment={recipe.name} seed={seed}"
            text = json.dumps({"fingerprint": recipe.fingerprint, **result}, indent=1)
            (target / f"seed{seed}.json").write_text(text + "\n")


def spread(values: list[float], digits: int = 2) -> str:
    """Mean and standard deviation over seeds."""
    return f"{fmean(values):.{digits}f}" + (f" ± {stdev(values):.{digits}f}" if len(values) > 1 else "")


def verdict(recipe: Recipe, final: list[float], peaks: list[float]) -> str:
    """Whether the claim is met, at the precision it is stated with: a peak by peaks, anything else by final values."""
    kind, claim, digits = recipe.claim
    if claim is None:
        return recipe.notes.get("verdict", "no figure is claimed")
    short, below = claim - fmean(final), claim - fmean(peaks or final)
    if fmean(final) > claim if kind == "above" else round(fmean(final), digits) >= claim:
        return "met"
    if kind != "peak":
        return f"not met: {short:.2f} short" + (f", {below:.2f} short at its best" if peaks else "")
    reach = f"{sum(round(peak, digits) >= claim for peak in peaks)} of {len(peaks)} seeds reach it"
    if round(fmean(peaks), digits) >= claim:
        return f"met as the peak it is ({reach}); the final value is {short:.2f} lower"
    return f"not met: {below:.2f} short at the peak ({reach}), {short:.2f} at the end"


def stuck(recipe: Recipe) -> str | None:
    """The step at which the test curve of seed 0 first passes one half, for a recipe that claims to be stuck."""
    path = RESULTS / recipe.name / "seed0.csv"
    if not recipe.notes.get("claim", "").startswith("stuck") or not path.exists():
        return None
    with path.open(newline="") as file:
        passed = [row["step"] for row in csv.DictReader(file) if float(row["test_accuracy"] or 0) > 0.5]
    return f"stuck as claimed: half the test images take {int(passed[0]):,} steps (seed 0)" if passed else "stuck"


def seconds(results: list[dict[str, Any]]) -> str:
    """Training time of the quickest run, since others may have shared the machine, and the threads it had."""
    quickest = min(results, key=lambda r: r["fit_seconds"])
    return f"{quickest['fit_seconds']:.0f} ({quickest['provenance']['threads']})"


def table(all_recipes: list[Recipe], lessons: list[Recipe]) -> str:
    """docs/RESULTS.md from the kept results."""
    rows, machines, reasons = [], set(), []
    for recipe in all_recipes:
        results = list(recipe.results().values())
        if not results:
            rows.append(f"| {recipe.number} | `{recipe.name}` | {recipe.notes['claim']} | not run yet | | | | |")
            continue
        final = [100 * r["test_accuracy"] for r in results]
        peaks = [100 * r["peak_test_accuracy"] for r in results if "peak_test_accuracy" in r]
        said = stuck(recipe) or verdict(recipe, final, peaks)
        if recipe.claim[1] and said != "met":
            reasons.append(f"- `{recipe.name}`: {recipe.notes.get('why', 'no reason is known yet.')}")
        machines |= {machine(r["provenance"]) for r in results}
        rows.append(
            f"| {recipe.number} | `{recipe.name}` | {recipe.notes['claim']} | {spread(final)} (n = {len(final)}) "
            f"| {f'{spread(peaks)}, highest {max(peaks):.2f}' if peaks else 'not watched'} "
            f"| {spread([r['test_errors'] for r in results], 0)} | {seconds(results)} | {said} |"
        )
    ends = []
    for lesson in lessons:
        for result in lesson.results().values():
            machines.add(machine(result["provenance"]))
            end = result.get("error") or f"{result['test_accuracy']:.2%} of the test images"
            ends.append(f"| `{lesson.name}` | {lesson.notes['shows']} | {end} |")
    return "\n".join(
        [
            "# What the recipes reach\n",
            "Written by `make reproduce` from the result files in docs/results; nothing here is typed by hand. Every",
            "figure is on MNIST's 10,000 test images. *Final* is the accuracy of the last weights, tested once: mean ±",
            "standard deviation over n seeds fixed beforehand (0, 1, 2, ...). *Best seen* is the highest point of the",
            "test curve where the tutorial watches one; nothing is chosen by it, and only a claim that is a peak is",
            "compared with it. *Seconds* are of training in the quickest run, with the number of threads it had.\n",
            "| | recipe | claim (source) | final % | best seen % | errors | seconds (threads) | verdict |",
            "|---|---|---|---|---|---|---|---|",
            *rows,
            "",
            *(["Where a final value stays below its claim:\n", *reasons, ""] if reasons else []),
            "The lessons, which go wrong on purpose (seed 0):\n",
            "| lesson | shows | ends with |",
            "|---|---|---|",
            *ends,
            "",
            "Measured on a shared machine:\n",
            *(f"- {one}" for one in sorted(machines)),
            "",
        ]
    )


def machine(provenance: dict[str, Any]) -> str:
    """Hardware and versions, in a line."""
    versions = ", ".join(f"{name} {provenance['versions'][name]}" for name in ("torch", "pytorch-lightning"))
    return f"{provenance['cpu']}, {provenance['cores']} cores, Python {provenance['python']}, {versions}"


def ladder(all_recipes: list[Recipe]) -> str:
    """The table in README.md: a rung each, with what it reaches."""
    rungs = {recipe.name: recipe for recipe in all_recipes}
    rows = ["| | command | claim | measured: final test accuracy | seconds (threads) |", "|---|---|---|---|---|"]
    for name in LADDER:
        recipe, results = rungs[name], list(rungs[name].results().values())
        if results:
            reached = f"{spread([100 * r['test_accuracy'] for r in results])} % (n = {len(results)})"
            claim = re.sub(r" \(.*", "", recipe.notes["claim"])
            rows.append(f"| {recipe.title} | `{recipe.notes['run']}` | {claim} | {reached} | {seconds(results)} |")
    return "\n".join(rows)


def annotate(recipe: Recipe) -> None:
    """Write what a recipe reaches and takes into its first lines."""
    results = list(recipe.results().values())
    if not results:
        return
    if recipe.kind == "Lesson":
        (result,) = results
        reaches = result.get("error", "").partition(":")[0] or f"{result['test_accuracy']:.2%} of the test images"
    else:
        final = spread([100 * r["test_accuracy"] for r in results])
        reaches = f"{final} % of the test images over {len(results)} seeds"
    took = min((r.get("fit_seconds", 0), r["provenance"]["threads"]) for r in results)
    takes = f"{took[0]:.0f} s" if took[0] < 100 else f"{took[0] / 60:.0f} min"
    path = ROOT / "conf" / "experiment" / f"{recipe.name}.yaml"
    text = re.sub(r"^# reaches:.*$", f"# reaches: {reaches}", path.read_text(), flags=re.M)
    if took[0]:
        text = re.sub(r"^# takes:.*$", f"# takes:   {takes} of training, {took[1]} thread(s)", text, flags=re.M)
    path.write_text(text)


def write_tables() -> None:
    """docs/RESULTS.md, the ladder in README.md and the first lines of the recipes."""
    everything, lessons = recipes(), recipes("Lesson")
    (ROOT / "docs" / "RESULTS.md").write_text(table(everything, lessons))
    readme = ROOT / "README.md"
    begin, end = "<!-- ladder: written by `make reproduce` -->\n", "<!-- end of ladder -->"
    before, rest = readme.read_text().split(begin)
    readme.write_text(f"{before}{begin}{ladder(everything)}\n{end}{rest.split(end)[1]}")
    for recipe in everything + lessons:
        annotate(recipe)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m mnist_lab.recipes", description=__doc__.split("\n")[0])
    parser.add_argument("action", choices=["list", "run", "table"])
    parser.add_argument("--only", default="", metavar="RECIPE,...", help="these recipes instead of all")
    parser.add_argument("--seeds", type=int, help="the first so many seeds instead of all")
    parser.add_argument("--quick", action="store_true", help="one seed of what takes under a minute")
    parser.add_argument("options", nargs="*", metavar="key=value", help="handed to train.py, as data.root=../mnist")
    arguments = parser.parse_intermixed_args()
    everything = recipes() + recipes("Lesson")
    only = [name for name in arguments.only.split(",") if name]
    names = [recipe.name for recipe in everything]
    unknown = ", ".join(sorted(set(only) - set(names)))
    if unknown:
        sys.exit(f"error: {unknown}: no such recipe; {did_you_mean(unknown, names)}")
    chosen = [recipe for recipe in everything if not only or recipe.name in only]
    if arguments.action == "list":
        for r in chosen:
            print(f"{r.kind} {r.number}. {r.title}: {r.notes['shows']}")
            print(f"    {'claim ' + r.notes['claim'] + '; ' if 'claim' in r.notes else ''}reaches {r.notes['reaches']}")
            print(f"    {r.notes['run']}  ({r.notes['takes']})")
        return
    if arguments.action == "run":
        quick = [recipe for recipe in chosen if not recipe.slow]
        run(quick if arguments.quick else chosen, 1 if arguments.quick else arguments.seeds, arguments.options)
    write_tables()


if __name__ == "__main__":
    main()
