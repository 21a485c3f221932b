"""List the recipes in conf/experiment, train them over several seeds, and write the tables of their results.

``python tools/recipes.py list`` prints them. ``run`` trains each recipe and seed that has no result yet and keeps the
result in docs/results. ``table`` writes docs/RESULTS.md, the ladder in README.md, and the lines ``reaches`` and
``takes`` at the top of each recipe. Lessons are recipes that go wrong on purpose: they claim nothing and run with one
seed.
"""

import argparse
import hashlib
import json
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import yaml
from tqdm import tqdm

from mnist_lab.errors import did_you_mean, exit_on_user_error
from mnist_lab.runs import metrics
from mnist_lab.runs.metrics import Metrics
from mnist_lab.runs.result import Result

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"
SEEDS = (0, 1, 2, 3, 4)  # chosen before the first run
SLOW_SEEDS = SEEDS[:3]  # for recipes that take over a minute
FRONTIER_SEED = 100  # the first of those that a frontier is measured with; no search uses it or a later one
LADDER = ("softmax", "sigmoid_two_hidden", "relu_decay", "strided_dropout", "pooled")


@dataclass(frozen=True)
class Recipe:
    """One file of conf/experiment. ``kind`` is Recipe, Lesson or Frontier; ``notes`` are the lines at its top."""

    name: str
    kind: str
    number: int
    title: str
    notes: dict[str, str]
    config: dict[str, Any]

    @property
    def words(self) -> list[str]:
        """What train.py is given."""
        return shlex.split(self.notes["run"])[2:]

    @property
    def slow(self) -> bool:
        """Whether it takes over a minute, as the convolutional networks do."""
        return bool({"override /model": "strided_convnet"} in self.config["defaults"] or "pooled" in self.name)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds to run it with."""
        if self.kind == "Frontier":
            return tuple(range(FRONTIER_SEED, FRONTIER_SEED + int(self.notes["seeds"])))
        return SEEDS[:1] if self.kind == "Lesson" else SLOW_SEEDS if self.slow else SEEDS

    @property
    def claim(self) -> tuple[str, float | None, int]:
        """The kind of claim (about, above, peak or none), the accuracy in percent, and its number of decimals."""
        found = re.match(r"(about|above|peak) ([0-9]+(?:\.([0-9]+))?)%", self.notes.get("claim", ""))
        return (found[1], float(found[2]), len(found[3] or "")) if found else ("none", None, 0)

    @property
    def fingerprint(self) -> str:
        """A hash of the recipe's values: results of an older version of the recipe are ignored."""
        return hashlib.sha256(json.dumps(self.config, sort_keys=True).encode()).hexdigest()[:12]

    def results(self) -> dict[int, Result]:
        """The kept results of its runs, by seed."""
        kept = {}
        for seed in self.seeds:
            path = RESULTS / self.name / f"seed{seed}.json"
            if path.exists():
                values = json.loads(path.read_text(encoding="utf-8"))
                if values.pop("fingerprint") == self.fingerprint:
                    kept[seed] = Result(**values)
        return kept


def recipes(kind: str = "Recipe") -> list[Recipe]:
    """All recipes (or lessons, or those of the frontier), in the order of their numbers."""
    found = []
    for path in (ROOT / "conf" / "experiment").glob("*.yaml"):
        text = path.read_text(encoding="utf-8")
        head = re.search(rf"^# {kind} (\d+): (.+)$", text, re.MULTILINE)
        if head:
            notes = dict(re.findall(r"^# (\w+):\s+(.+)$", text, re.MULTILINE))
            found.append(Recipe(path.stem, kind, int(head[1]), head[2], notes, yaml.safe_load(text)))
    return sorted(found, key=lambda recipe: recipe.number)


def run(chosen: list[Recipe], seeds: int | None, options: list[str]) -> None:
    """Train each recipe with each of its seeds (or the first ``seeds``) that has no result yet, one process per run."""
    for recipe, seed in missing(chosen, seeds):
        with tempfile.TemporaryDirectory() as folder:
            run_dir = Path(folder) / "run"
            train(recipe, seed, [*recipe.words, f"seed={seed}", f"hydra.run.dir={run_dir}", *options])
            keep(recipe, seed, run_dir)


def missing(chosen: list[Recipe], seeds: int | None = None) -> Iterator[tuple[Recipe, int]]:
    """The recipes and seeds that have no result yet, one after another, with a bar."""
    left = [(recipe, seed) for recipe in chosen for seed in recipe.seeds[:seeds] if seed not in recipe.results()]
    bar = tqdm(left, unit="run", dynamic_ncols=True)
    for recipe, seed in bar:
        bar.set_postfix_str(f"{recipe.name} seed {seed}")
        yield recipe, seed


def train(recipe: Recipe, seed: int, words: list[str]) -> None:
    """Run train.py in a process of its own. Exits with its error where it fails, unless it does so on purpose.

    What it prints is shown for the long runs of the frontier, which have bars of their own.
    """
    shown = recipe.kind == "Frontier"
    done = subprocess.run([sys.executable, "train.py", *words], cwd=ROOT, capture_output=not shown, text=True)
    failed_on_purpose = recipe.kind == "Lesson" and done.returncode == 1
    if done.returncode and not failed_on_purpose:
        said = "; it says why above" if shown else f": {done.stderr.strip().splitlines()[:1]}"
        sys.exit(f"{recipe.name} seed {seed} failed{said}")


def keep(recipe: Recipe, seed: int, run_dir: Path) -> None:
    """Keep the result of a run in docs/results, and the curves of seed 0."""
    result = Result.read(run_dir)
    result.provenance["command"] = f"{recipe.notes['run']} seed={seed}"
    target = RESULTS / recipe.name
    target.mkdir(parents=True, exist_ok=True)
    if seed == 0:
        shutil.copy(run_dir / metrics.FILE, target / "seed0.csv")
    values = {name: value for name, value in vars(result).items() if value is not None}
    text = json.dumps({"fingerprint": recipe.fingerprint, **values}, indent=1)
    (target / f"seed{seed}.json").write_text(text + "\n", encoding="utf-8")


def mean_std(values: list[float], digits: int = 2) -> str:
    """``mean ± standard deviation`` over seeds; the mean alone for a single value."""
    return f"{fmean(values):.{digits}f}" + (f" ± {stdev(values):.{digits}f}" if len(values) > 1 else "")


def verdict(recipe: Recipe, final: list[float], peaks: list[float]) -> str:
    """Whether the claim is met, at the precision it is stated with.

    A claim of a peak is compared with ``peaks``, any other claim with the ``final`` values; all are in percent.
    """
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
        return f"met at the peak ({reach}); the final value is {short:.2f} lower"
    return f"not met: {below:.2f} short at the peak ({reach}), {short:.2f} at the end"


def stuck(recipe: Recipe) -> str | None:
    """For a recipe that claims to be stuck: the step at which seed 0 first exceeds a test accuracy of one half."""
    path = RESULTS / recipe.name / "seed0.csv"
    if not recipe.notes.get("claim", "").startswith("stuck") or not path.exists():
        return None
    curves = Metrics(path)
    above = curves.steps("test_accuracy")[curves["test_accuracy"] > 0.5]
    return f"stuck as claimed: {above[0]:,} steps to recognise half the test images (seed 0)" if len(above) else "stuck"


def quickest(results: list[Result]) -> tuple[float, int]:
    """Seconds of training, and the number of threads, of the quickest run: the others may have shared the machine."""
    return min((r.fit_seconds or 0.0, r.provenance["threads"]) for r in results)


def seconds(results: list[Result]) -> str:
    """``seconds (threads)`` of the quickest run, for a table."""
    return "{:.0f} ({})".format(*quickest(results))


def table(all_recipes: list[Recipe], lessons: list[Recipe]) -> str:
    """docs/RESULTS.md from the kept results."""
    rows, machines, reasons = [], set(), []
    for recipe in all_recipes:
        results = list(recipe.results().values())
        if not results:
            rows.append(f"| {recipe.number} | `{recipe.name}` | {recipe.notes['claim']} | not run yet | | | | |")
            continue
        final = percent(results)
        peaks = [100 * r.peak_test_accuracy for r in results if r.peak_test_accuracy is not None]
        said = stuck(recipe) or verdict(recipe, final, peaks)
        if recipe.claim[1] and said != "met":
            reasons.append(f"- `{recipe.name}`: {recipe.notes.get('why', 'no reason is known yet.')}")
        machines |= {machine(r.provenance) for r in results}
        rows.append(
            f"| {recipe.number} | `{recipe.name}` | {recipe.notes['claim']} | {mean_std(final)} (n = {len(final)}) "
            f"| {f'{mean_std(peaks)}, highest {max(peaks):.2f}' if peaks else 'not measured'} "
            f"| {mean_std([r.test_errors or 0 for r in results], 0)} | {seconds(results)} | {said} |"
        )
    ends = []
    for lesson in lessons:
        for result in lesson.results().values():
            machines.add(machine(result.provenance))
            end = result.error or f"{result.test_accuracy:.2%} of the test images"
            ends.append(f"| `{lesson.name}` | {lesson.notes['shows']} | {end} |")
    return "\n".join(
        [
            "# What the recipes reach\n",
            "`make reproduce` writes this file from the results in docs/results; nothing here is typed by hand. Every",
            "figure is on MNIST's 10,000 test images. *Final* is the accuracy of the last weights, tested once: mean ±",
            "standard deviation over n seeds chosen before the first run (0, 1, 2, ...). *Best seen* is the highest",
            "point of the test curve, where the tutorial plots one; nothing is selected by it, and only a claim about",
            "a peak is compared with it. *Seconds* is the training time of the quickest run, with its threads.\n",
            "A claim is the tutorial's own figure. 003 is *MNIST For ML Beginners*; 000, 001 and 004 are *Deep MNIST",
            "for Experts* in three editions, once in TensorFlow's documentation; 002 is the codelab *TensorFlow and",
            "deep learning, without a PhD*, with its scripts, github.com/GoogleCloudPlatform/tensorflow-without-a-phd.",
            "It is met where the mean, rounded as the claim is, is not below it (*above*: where it is above); a peak",
            "where the mean of the peaks is not below it.\n",
            "| | recipe | claim (source) | final % | best seen % | errors | seconds (threads) | verdict |",
            "|---|---|---|---|---|---|---|---|",
            *rows,
            "",
            *(["Why a final value is below its claim:\n", *reasons, ""] if reasons else []),
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


def percent(results: list[Result]) -> list[float]:
    """The final test accuracies."""
    return [100 * (r.test_accuracy or 0.0) for r in results]


def machine(provenance: dict[str, Any]) -> str:
    """Hardware and versions, in one line."""
    versions = ", ".join(f"{name} {provenance['versions'][name]}" for name in ("torch", "pytorch-lightning"))
    return f"{provenance['cpu']}, {provenance['cores']} cores, Python {provenance['python']}, {versions}"


def ladder(all_recipes: list[Recipe]) -> str:
    """The table in README.md: one row for each recipe of LADDER, then those of the frontier that are measured."""
    rungs = {recipe.name: recipe for recipe in all_recipes}
    frontier = [recipe.name for recipe in all_recipes if recipe.kind == "Frontier"]
    rows = ["| | command | claim | measured: final test accuracy | seconds (threads) |", "|---|---|---|---|---|"]
    for name in (*LADDER, *frontier):
        recipe, results = rungs[name], list(rungs[name].results().values())
        if results:
            reached = f"{mean_std(percent(results))} % (n = {len(results)})"
            claim = re.sub(r" \(.*", "", recipe.notes.get("claim") or f"aim: {recipe.notes['aim']}")
            rows.append(f"| {recipe.title} | `{recipe.notes['run']}` | {claim} | {reached} | {seconds(results)} |")
    return "\n".join(rows)


def annotate(recipe: Recipe) -> None:
    """Write the accuracy a recipe reaches and the time it takes into the lines at its top."""
    results = list(recipe.results().values())
    if not results:
        return
    if recipe.kind == "Lesson":
        (result,) = results
        reaches = re.split("[:,]", result.error or "")[0] or f"{result.test_accuracy:.2%} of the test images"
    else:
        reaches = f"{mean_std(percent(results))} % of the test images over {len(results)} seeds"
    took, threads = quickest(results)
    takes = f"{took:.0f} s" if took < 100 else f"{took / 60:.0f} min"
    path = ROOT / "conf" / "experiment" / f"{recipe.name}.yaml"
    text = re.sub(r"^# reaches:.*$", f"# reaches: {reaches}", path.read_text(encoding="utf-8"), flags=re.M)
    if took:
        text = re.sub(r"^# takes:.*$", f"# takes:   {takes} of training, {threads} thread(s)", text, flags=re.M)
    path.write_text(text, encoding="utf-8")


def fill(path: Path, name: str, text: str, command: str) -> None:
    """Put ``text`` between the marks in a document that say that ``command`` writes ``name`` there."""
    begin, end = f"<!-- {name}: written by `{command}` -->\n", f"<!-- end of {name} -->"
    before, rest = path.read_text(encoding="utf-8").split(begin)
    path.write_text(f"{before}{begin}{text}\n{end}{rest.split(end)[1]}", encoding="utf-8")


def write_tables() -> None:
    """Write docs/RESULTS.md, the ladder in README.md and the lines at the top of the recipes."""
    everything, lessons, frontier = recipes(), recipes("Lesson"), recipes("Frontier")
    (ROOT / "docs" / "RESULTS.md").write_text(table(everything, lessons), encoding="utf-8")
    fill(ROOT / "README.md", "ladder", ladder(everything + frontier), "make reproduce")
    for recipe in everything + lessons + frontier:
        annotate(recipe)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python tools/recipes.py", description=__doc__.split("\n")[0])
    parser.add_argument("action", choices=["list", "run", "table"])
    parser.add_argument("--only", default="", metavar="RECIPE,...", help="only these recipes")
    parser.add_argument("--seeds", type=int, help="only the first so many seeds")
    parser.add_argument("--quick", action="store_true", help="one seed of each recipe that takes under a minute")
    parser.add_argument("options", nargs="*", metavar="key=value", help="passed on to train.py, as data.root=../mnist")
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
    with exit_on_user_error():
        main()
