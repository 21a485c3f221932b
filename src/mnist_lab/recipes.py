"""The recipes in conf/experiment: what their first lines claim, running them over seeds, the table of what they reach.

``python -m mnist_lab.recipes list`` prints them; ``run`` trains what has not been trained yet and keeps each result in
docs/results; ``table`` writes docs/RESULTS.md, and what each recipe reaches and takes into its first lines.
"""

import argparse
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

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results"
SEEDS = (0, 1, 2, 3, 4)  # fixed beforehand
SLOW_SEEDS = SEEDS[:3]  # for recipes that take over a minute


@dataclass(frozen=True)
class Recipe:
    """One file of conf/experiment; its first comment lines hold ``title: text``."""

    name: str
    number: int
    title: str
    notes: dict[str, str]
    config: dict[str, Any]

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds it is run with: convolutional networks take over a minute and get fewer."""
        return (
            SLOW_SEEDS
            if {"override /model": "strided_convnet"} in self.config["defaults"] or "pooled" in self.name
            else SEEDS
        )

    @property
    def claim(self) -> tuple[str, float | None, int]:
        """Its kind (about, above, peak or none), the claimed accuracy in percent, and the digits after the point."""
        found = re.match(r"(about|above|peak) ([0-9]+(?:\.([0-9]+))?)%", self.notes["claim"])
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


def recipes() -> list[Recipe]:
    """All recipes, in the order of the tutorials' story."""
    found = []
    for path in (ROOT / "conf" / "experiment").glob("*.yaml"):
        text = path.read_text()
        head = re.search(r"^# Recipe (\d+): (.+)$", text, re.MULTILINE)
        if head:
            notes = dict(re.findall(r"^# (\w+):\s+(.+)$", text, re.MULTILINE))
            found.append(Recipe(path.stem, int(head[1]), head[2], notes, yaml.safe_load(text)))
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
            if done.returncode:
                sys.exit(
                    f"{recipe.name} seed {seed} failed: {done.stderr.strip().splitlines()[0] if done.stderr else '?'}"
                )
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
    short = claim - fmean(final)
    reached = round(fmean(final), digits) >= claim if kind != "above" else fmean(final) > claim
    if reached:
        return "met"
    if kind == "peak" and peaks and round(fmean(peaks), digits) >= claim:
        return f"met as the peak it is; the final value is {short:.2f} lower"
    where = f", {claim - fmean(peaks):.2f} short at its peak" if peaks else ""
    return f"not met: {short:.2f} short{where}"


def table(all_recipes: list[Recipe]) -> str:
    """docs/RESULTS.md from the kept results."""
    rows, machines, reasons = [], set(), []
    for recipe in all_recipes:
        results = list(recipe.results().values())
        if not results:
            rows.append(f"| {recipe.number} | `{recipe.name}` | {recipe.notes['claim']} | not run yet | | | | |")
            continue
        final = [100 * r["test_accuracy"] for r in results]
        peaks = [100 * r["peak_test_accuracy"] for r in results if "peak_test_accuracy" in r]
        said = verdict(recipe, final, peaks)
        if recipe.claim[1] and said != "met":
            reasons.append(f"- `{recipe.name}`: {recipe.notes.get('why', 'no reason is known yet.')}")
        for r in results:
            p = r["provenance"]
            versions = ", ".join(f"{name} {p['versions'][name]}" for name in ("torch", "pytorch-lightning"))
            machines.add(f"{p['cpu']}, {p['cores']} cores, {p['threads']} threads, Python {p['python']}, {versions}")
        rows.append(
            f"| {recipe.number} | `{recipe.name}` | {recipe.notes['claim']} | {spread(final)} (n = {len(final)}) "
            f"| {f'{spread(peaks)}, highest {max(peaks):.2f}' if peaks else 'not watched'} "
            f"| {spread([r['test_errors'] for r in results], 0)} "
            f"| {fmean([r['fit_seconds'] for r in results]):.0f} | {said} |"
        )
    return "\n".join(
        [
            "# What the recipes reach\n",
            "Written by `make reproduce` from the result files in docs/results; nothing here is typed by hand. Every",
            "figure is on MNIST's 10,000 test images. *Final* is the accuracy of the last weights, tested once: mean ±",
            "standard deviation over n seeds fixed beforehand (0, 1, 2, ...). *Best seen* is the highest point of the",
            "test curve where the tutorial watches one; nothing is chosen by it, and only a claim that is a peak is",
            "compared with it.\n",
            "| | recipe | claim (source) | final % | best seen % | errors | seconds of training | verdict |",
            "|---|---|---|---|---|---|---|---|",
            *rows,
            "",
            *(["Where a final value stays below its claim:\n", *reasons, ""] if reasons else []),
            "Measured on (a shared machine, so seconds are upper bounds):\n",
            *(f"- {machine}" for machine in sorted(machines)),
            "",
        ]
    )


def annotate(recipe: Recipe) -> None:
    """Write what a recipe reaches and takes into its first lines."""
    results = list(recipe.results().values())
    if not results:
        return
    final = spread([100 * r["test_accuracy"] for r in results])
    seconds = fmean([r["fit_seconds"] + r["test_seconds"] for r in results])
    took = f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
    path = ROOT / "conf" / "experiment" / f"{recipe.name}.yaml"
    text = re.sub(
        r"^# reaches:.*$",
        f"# reaches: {final} % of the test images over {len(results)} seeds",
        path.read_text(),
        flags=re.M,
    )
    path.write_text(
        re.sub(
            r"^# takes:.*$",
            f"# takes:   {took} of training on {results[0]['provenance']['cores']} cores",
            text,
            flags=re.M,
        )
    )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m mnist_lab.recipes", description=__doc__.split("\n")[0])
    parser.add_argument("action", choices=["list", "run", "table"])
    parser.add_argument("--only", default="", metavar="RECIPE,...", help="these recipes instead of all")
    parser.add_argument("--seeds", type=int, help="the first so many seeds instead of all")
    parser.add_argument("options", nargs="*", metavar="key=value", help="handed to train.py, as data.root=../mnist")
    arguments = parser.parse_intermixed_args()
    everything = recipes()
    only = [name for name in arguments.only.split(",") if name]
    unknown = set(only) - {recipe.name for recipe in everything}
    if unknown:
        sys.exit(
            f"error: {', '.join(sorted(unknown))}: no such recipe; choose from {', '.join(r.name for r in everything)}"
        )
    chosen = [recipe for recipe in everything if not only or recipe.name in only]
    if arguments.action == "list":
        for r in chosen:
            print(f"{r.number:2}  {r.title}: {r.notes['shows']}")
            print(f"    claim {r.notes['claim']}; reaches {r.notes['reaches']}")
            print(f"    {r.notes['run']}  ({r.notes['takes']})")
        return
    if arguments.action == "run":
        run(chosen, arguments.seeds, arguments.options)
    (ROOT / "docs" / "RESULTS.md").write_text(table(everything))
    for recipe in everything:
        annotate(recipe)


if __name__ == "__main__":
    main()
