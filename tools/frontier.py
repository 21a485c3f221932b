"""Measure the best figures at every budget, by rules that this file holds, into docs/FRONTIER.md.

``python tools/frontier.py run`` trains the recipes of conf/experiment whose heading says Frontier, each with seeds of
its own, and goes on where it was cut. ``search NAME FOLDER ABOUT`` keeps the summary of a search. Both, and ``table``
alone, write tables and plots from what is kept in docs/results, and the end of README's ladder.
"""

import argparse
import json
import re
import shlex
from collections import Counter
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import recipes
import yaml
from hydra import compose, initialize_config_dir
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from omegaconf import DictConfig
from PIL import Image
from recipes import RESULTS, ROOT, Recipe

from mnist_lab.build import classifier
from mnist_lab.config import flatten_config
from mnist_lab.errors import UserError, did_you_mean, exit_on_user_error
from mnist_lab.explore.ensemble import ensemble
from mnist_lab.explore.familiar import digits_of
from mnist_lab.mosaic import mosaic
from mnist_lab.networks.layers import multiply_adds
from mnist_lab.runs.directory import checkpoint_path, register_resolvers
from mnist_lab.runs.result import FILE, Result
from mnist_lab.runs.run import Run, load, probabilities
from mnist_lab.sweeps import report

DOCUMENT = ROOT / "docs" / "FRONTIER.md"
PICTURES = ROOT / "docs" / "pictures"
SEARCHES = RESULTS / "searches"
PUBLISHED = RESULTS / "published.yaml"
# What every run of the frontier has in its config.
PROTOCOL: dict[str, Any] = {
    "data.validation_size": 0,  # trained on all images, after choosing on 5,000 of them
    "data.watch_test": False,
    "fit": True,
    "test": True,
    "checkpoint": "last",
}
# What may differ from the recipe: where a run is, and not what it computes.
FREE = ("seed", "data.download", "data.timeout", "trainer.accelerator")
ACCURATE, RECORD = "accurate", "record"  # whose errors are shown, and the ensemble of its runs
ELSEWHERE = ("fashion_mnist", "kmnist")  # what ACCURATE is tried on, untouched
# Test images whose label fewer than three of five people agreed with, and what they saw instead: C. Northcutt and
# others 2021, "Pervasive Label Errors in Test Sets", github.com/cleanlab/label-errors, mturk/mnist_mturk.json.
RELABELLED = {947: "9", 1621: "6", 1901: "4", 2130: "4 or 9", 2462: "0", 2597: "3", 2654: "neither", 3520: "neither"}
RELABELLED |= {3558: "0", 5937: "3", 6651: "6", 6783: "6", 8527: "4 or 9", 9679: "neither", 9729: "6"}
SHOWN = 20  # images that every run gets wrong
MOST = 8  # rows of a search
HEADS = ("row", "aim", "test accuracy, %", "errors", "seconds (on)", "parameters", "multiply-adds", "command")
COSTS = {"fit_seconds": "seconds of training", "parameters": "parameters", "multiply_adds": "multiply-adds an image"}
TICKS = (10, 5, 2, 1, 0.5, 0.2, 0.1)  # per cent of error
# Marker, size and colour: Okabe and Ito's colours, which colour-blind readers can tell apart.
MARKS = {
    "of the frontier": ("o", 8, "#D55E00"),
    "recipes of the tutorials": ("o", 4, "#999999"),
    "published": ("x", 8, "#0072B2"),
    "published, chosen on the test set": ("x", 8, "#CC79A7"),
}


def rows() -> list[Recipe]:
    """What is measured: the recipes of the frontier, and the accurate one on other data."""
    found = recipes.recipes("Frontier")
    accurate = next(row for row in found if row.name == ACCURATE)
    for number, data in enumerate(ELSEWHERE, len(found) + 1):
        notes = accurate.notes | {"run": f"{accurate.notes['run']} data={data}", "aim": "whatever comes out"}
        title = f"the same recipe, untouched, on {data}"
        found.append(replace(accurate, name=_on(data), number=number, title=title, notes=notes))
    return found


def _on(data: str) -> str:
    return f"{ACCURATE}_{data}"


def _data(row: Recipe) -> str:
    return next((word.removeprefix("data=") for word in row.words if word.startswith("data=")), "mnist")


def _config(words: list[str]) -> DictConfig:
    register_resolvers()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("config", overrides=words)


def settings(row: Recipe, options: list[str]) -> dict[str, Any]:
    """The settings of a run of ``row``. Raises UserError where they break the protocol, or are not the recipe's."""
    own, given = (flatten_config(_config(words)) for words in (row.words, [*row.words, *options]))
    for key, value in PROTOCOL.items():
        if given.get(key) != value:
            raise UserError(f"{row.name}: {key}={given.get(key)}: a run of the frontier has {key}={value}")
    if different := _differing(own, given):
        raise UserError(f"{row.name}: {different}: the frontier is measured with the recipe as it is")
    return given


def _differing(one: dict[str, Any], other: dict[str, Any]) -> str:
    keys = sorted(key for key in one.keys() | other.keys() if key not in FREE and one.get(key) != other.get(key))
    return ", ".join(f"{key}={other.get(key)} (the recipe has {one.get(key)})" for key in keys)


def check(row: Recipe, seed: int, result: Result, expected: dict[str, Any], kept: bool = False) -> None:
    """Raise UserError unless ``result`` is of a run with these settings that kept to the protocol.

    Of a result that was ``kept``, settings are left out that the code has got, or lost, since.
    """
    facts = {
        "status": (result.status, "done"),
        "seed": (result.seed, seed),
        "data": (result.data, _data(row)),
        "images held out": (result.sizes.get("val"), 0),
        "steps": (result.steps, expected["trainer.max_steps"]),
        "weights that were tested": (result.tested, "last"),
    }
    for name, (value, wanted) in facts.items():
        if value != wanted:
            raise UserError(f"{row.name} seed {seed}: {name}: {value}, must be {wanted}")
    if kept:
        expected = {key: value for key, value in expected.items() if key in result.settings}
    found = {key: value for key, value in result.settings.items() if not kept or key in expected}
    if different := _differing(expected, found):
        raise UserError(f"{row.name} seed {seed}: was trained with {different}; remove its result and run directory")


def measure(chosen: list[Recipe], runs: Path, options: list[str]) -> None:
    """Train what is missing in ``runs``/<row>/seed<n>, going on with what was cut, and keep each result."""
    expected = {row.name: settings(row, options) for row in chosen}
    for row, seed in recipes.missing(chosen):
        run_dir = runs / row.name / f"seed{seed}"
        if not (run_dir / FILE).exists() or Result.read(run_dir).status != "done":
            new = [*row.words, f"seed={seed}", f"hydra.run.dir={run_dir}"]
            goes_on = checkpoint_path(run_dir, "last").exists()
            recipes.train(row, seed, [*([f"resume={run_dir}"] if goes_on else new), *options])
        check(row, seed, Result.read(run_dir), expected[row.name])
        recipes.keep(row, seed, run_dir)
    for row in chosen:
        if row.name == ACCURATE and len(row.results()) == len(row.seeds):
            keep_together([load(runs / row.name / f"seed{seed}") for seed in row.seeds])


def keep_together(accurate: list[Run]) -> None:
    """Keep what the runs reach as an ensemble, and which test images each of them gets wrong, with a picture."""
    result = ensemble(accurate)
    result.provenance["command"] = _record().notes["run"]
    (RESULTS / RECORD).mkdir(parents=True, exist_ok=True)
    result.write(RESULTS / RECORD)
    digits = digits_of(accurate[0])
    images, labels = digits.test_images.numpy(), digits.test_labels.numpy()
    answers = np.stack([probabilities(run.network(), images).argmax(axis=1) for run in accurate])
    wrong = np.flatnonzero(np.all(answers != labels, axis=0))
    kept = {int(i): {"label": int(labels[i]), "answers": answers[:, i].tolist()} for i in wrong}
    (RESULTS / RECORD / "wrong.json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    first = wrong[:SHOWN]
    usual = np.array([Counter(kept[int(i)]["answers"]).most_common(1)[0][0] for i in first])
    Image.fromarray(mosaic(images[first], labels[first], usual, 10, 2)).save(PICTURES / "frontier_wrong.png")


def _record() -> Recipe:
    notes = {"aim": "99.80%", "run": f"python -m mnist_lab.ensemble outputs/frontier/{ACCURATE}/*"}
    return Recipe(RECORD, "Frontier", 0, f"the {ACCURATE} runs together, by the mean of their probabilities", notes, {})


def _together() -> list[Result]:
    return [Result.read(RESULTS / RECORD)] if (RESULTS / RECORD / FILE).exists() else []


def keep_search(name: str, folder: Path, about: str, in_vain: list[str]) -> None:
    """Keep the summary of the search or sweeps in ``folder``: how many trials, what they cost, the best rows.

    ``in_vain`` names settings that did not help, as ``ema=0.99``. Raises UserError where a run was tested, or had a
    seed that the frontier is measured with.
    """
    runs = report.collect([folder])
    for where, result in runs.items():
        if result.test_accuracy is not None or (result.seed or 0) >= recipes.FRONTIER_SEED:
            raise UserError(f"{where}: was tested, or has a seed of the frontier; a search must not")
    columns, grouped = report.group(runs)
    found = [
        {
            "settings": {key: report.short(row.settings.get(key)) for key in columns if key != "name"},
            "n": len(row.runs) - len(row.unfinished),
            "val_accuracy": row.mean_std("val_accuracy"),
            "fit_seconds": min(result.fit_seconds for result in row.runs.values() if result.fit_seconds),
            **{key: row.mean_std(key)[0] for key in ("parameters", "multiply_adds")},
        }
        for row in grouped
        if row.mean_std("val_accuracy")[0] is not None
    ]
    commands = [_command(path) for path in sorted(folder.rglob("multirun.yaml"))]
    best, shown = found[:MOST], f"the best {MOST}" if len(found) > MOST else "all"
    if any("val_accuracy,fit_seconds" in command for command in commands):
        front = pareto_front([(row["fit_seconds"], row["val_accuracy"][0]) for row in found])
        best = [row for row in found if (row["fit_seconds"], row["val_accuracy"][0]) in front]
        shown = "the Pareto front"
    summary = {
        "about": about,
        "commands": commands,
        "commit": next(iter(runs.values())).provenance.get("git_sha", "")[:10],
        "states": dict(Counter(result.status for result in runs.values())),
        "seconds": round(sum(result.fit_seconds or 0.0 for result in runs.values())),
        "shown": shown,
        "rows": best,
        "in_vain": [_in_vain(found, setting) for setting in in_vain],
    }
    SEARCHES.mkdir(parents=True, exist_ok=True)
    (SEARCHES / f"{name}.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")


def pareto_front(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points (cost, gain) for which no other costs at most as much and gains more, the cheapest first."""
    front: list[tuple[float, float]] = []
    for point in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or point[1] > front[-1][1]:
            front.append(point)
    return front


def _in_vain(found: list[dict[str, Any]], setting: str) -> dict[str, Any]:
    """The best row with ``setting``, and the row most like it with another value. UserError where there is none."""
    key, _, value = setting.partition("=")
    with_it = [row for row in found if row["settings"].get(key) == value]
    others = [row for row in found if row["settings"].get(key) != value]
    if not with_it or not others:
        raise UserError(f"{setting}: no row of the search has it, or all have; {key} must be a column of its report")
    one = with_it[0]

    def alike(row: dict[str, Any]) -> int:
        return sum(row["settings"][name] == one["settings"][name] for name in one["settings"])

    return {"setting": setting, "key": key, "with": one, "instead": max(others, key=alike)}


def _command(path: Path) -> str:
    """The command of the sweep whose multirun.yaml this is, without the places of files."""
    given = yaml.safe_load(path.read_text(encoding="utf-8"))["hydra"]["overrides"]
    places = ("hydra.mode=", "hydra.sweep.dir=", "sweep.resume=", "sweep.page=", "data.root=")
    words = [word for word in (*given["hydra"], *given["task"]) if not word.startswith(places)]
    return f"python train.py --multirun {shlex.join(words)}"


def parts() -> dict[str, str]:
    """What docs/FRONTIER.md shows, as Markdown. Raises UserError where a kept result breaks the protocol."""
    lines, machines = [f"| {' | '.join(HEADS)} |", "|---" * len(HEADS) + "|"], set()
    for row in rows():
        expected, results = settings(row, []), row.results()
        for seed, result in results.items():
            check(row, seed, result, expected, kept=True)
            machines.add(recipes.machine(result.provenance))
        lines.append(_line(row, list(results.values()), len(row.seeds)))
    lines.append(_line(_record(), _together(), 1))
    measured = ["", "Measured on:\n", *(f"- {one}" for one in sorted(machines))] if machines else []
    return {
        "table": "\n".join([*lines, *measured]),
        "published": _published_table(),
        "wrong": _wrong(),
        "searches": _searches(),
        "failures": _failures(),
    }


def _line(row: Recipe, results: list[Result], wanted: int) -> str:
    """A row of the table; what is not measured says how far it is."""
    head, aim, command = f"`{row.name}`: {row.title}", row.notes["aim"], f"`{row.notes['run']}`"
    if not results:
        runs = f"0 of {wanted} runs" if wanted > 1 else f"it takes all runs of `{ACCURATE}`"
        return f"| {head} | {aim} | not measured yet: {runs} | | | | | {command} |"
    final = recipes.percent(results)
    reached = f"{recipes.mean_std(final)} (n = {len(final)}{f' of {wanted}' if len(final) < wanted else ''})"
    if goal := re.search(r"([\d.]+)%", aim):
        short = float(goal[1]) - round(fmean(final), 2)
        reached += f", {short:.2f} short" if short > 0 else ", met"
    errors = recipes.mean_std([result.test_errors or 0 for result in results], 1 if len(results) > 1 else 0)
    costs = [_seconds(results), f"{results[0].parameters or 0:,}", _short(results[0].multiply_adds or 0)]
    return f"| {' | '.join([head, aim, reached, errors, *costs, command])} |"


def _seconds(results: list[Result]) -> str:
    """Of training, of the quickest run, with what it ran on."""
    quickest = min(results, key=lambda result: result.fit_seconds or 0.0)
    took, on = quickest.fit_seconds or 0.0, quickest.provenance
    gpus = on["gpus"] if quickest.settings.get("trainer.accelerator") != "cpu" else []
    cpu = f"{on['threads']} thread(s), {on['cores']} cores of {on['cpu']} {on.get('instructions', '')}".strip()
    return f"{took:,.{1 if took < 100 else 0}f} ({', '.join(gpus) or cpu}; {quickest.precision})"


def _short(count: float) -> str:
    return f"{count / 1e6:.3g}M" if count >= 1e6 else f"{count:,.0f}"


def published() -> list[dict[str, Any]]:
    """What others have published: name, accuracy, source, whether it is honest, and what it cost if that is known."""
    found: list[dict[str, Any]] = yaml.safe_load(PUBLISHED.read_text(encoding="utf-8"))
    return found


def _published_table() -> str:
    heads = ["", "accuracy, %", "seconds", "parameters", "multiply-adds", "chosen without the test set?", "source"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for one in published():
        seconds = f"{one['fit_seconds']} ({one['hardware']})" if "fit_seconds" in one else ""
        costs = [seconds, *(_short(one[key]) if key in one else "" for key in ("parameters", "multiply_adds"))]
        honest = f"{'yes' if one['honest'] else 'no'}: {one['protocol']}"
        lines.append(f"| {' | '.join([one['name'], str(one['said']), *costs, honest, one['source']])} |")
    return "\n".join(lines)


def _wrong() -> str:
    """Which test images every accurate run gets wrong; those whose label people doubt are marked."""
    path = RESULTS / RECORD / "wrong.json"
    if not path.exists():
        return f"Not measured yet: it takes all runs of `{ACCURATE}`."
    kept = json.loads(path.read_text(encoding="utf-8"))
    lines = ["| test image | label | the runs say | people say |", "|---|---|---|---|"]
    for index, one in list(kept.items())[:SHOWN]:
        said = ", ".join(str(answer) for answer, _ in Counter(one["answers"]).most_common())
        doubt = f"**{RELABELLED[int(index)]}**" if int(index) in RELABELLED else ""
        lines.append(f"| {index} | {one['label']} | {said} | {doubt} |")
    many = f"The first {SHOWN} of the {len(kept)}" if len(kept) > SHOWN else f"The {len(kept)}"
    picture = "![their pictures, label at the left, answer at the right](pictures/frontier_wrong.png)"
    return "\n\n".join([f"{many} test images that every run of `{ACCURATE}` gets wrong:", picture, "\n".join(lines)])


def _searches() -> str:
    """A section for each search that is kept: what it asked, how many trials, what they cost, the best."""
    blocks = []
    for name, one in _kept_searches().items():
        keys = list(one["rows"][0]["settings"])
        states = ", ".join(f"{count} {state}" for state, count in one["states"].items())
        cost = f"{sum(one['states'].values())} runs ({states}), {one['seconds'] / 60:.0f} minutes of training"
        heads = [*(f"`{key}`" for key in keys), "n", "validation, %", "seconds", "parameters", "multiply-adds"]
        lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
        for row in one["rows"]:
            costs = [f"{row['fit_seconds']:.1f}", f"{row['parameters']:,.0f}", _short(row["multiply_adds"])]
            lines.append(f"| {' | '.join([*row['settings'].values(), str(row['n']), _accuracy(row), *costs])} |")
        heading = f"<details><summary>commands, at commit {one['commit']}</summary>\n"
        commands = "\n".join([heading, *(f"    {command}" for command in one["commands"])])
        said = f"{one['about']} {cost}; {one['shown']}:"
        blocks.append("\n\n".join([f"### {name}", said, "\n".join(lines), commands, "</details>"]))
    return "\n\n".join(blocks) or "None is kept yet."


def _failures() -> str:
    """A line for each setting that did not help, beside what was instead of it."""
    heads = ["search", "setting", "validation, %", "instead", "validation, %", "n"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name, search in _kept_searches().items():
        for one in search["in_vain"]:
            instead = f"`{one['key']}={one['instead']['settings'][one['key']]}`"
            cells = [f"`{one['setting']}`", _accuracy(one["with"]), instead, _accuracy(one["instead"])]
            lines.append(f"| {' | '.join([name, *cells, str(one['with']['n'])])} |")
    return "\n".join(lines) if len(lines) > 2 else "Nothing is kept yet."


def _kept_searches() -> dict[str, dict[str, Any]]:
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(SEARCHES.glob("*.json"))}


def _accuracy(row: dict[str, Any]) -> str:
    mean, std = row["val_accuracy"]
    return f"{100 * mean:.2f}" + (f" ± {100 * std:.2f}" if std is not None else "")


def draw() -> None:
    """The plots: accuracy against each cost, the Pareto front of what was measured here, and the published points."""
    here = {row.name: list(row.results().values()) for row in rows() if _data(row) == "mnist"} | {RECORD: _together()}
    tutorials = {row.name: list(row.results().values()) for row in recipes.recipes()}
    for row in recipes.recipes():
        count = multiply_adds(classifier(_config(row.words)))
        for result in tutorials[row.name]:
            result.multiply_adds = count  # results of the first version do not have it
    for measure, unit in COSTS.items():
        figure = Figure(figsize=(8, 5), layout="constrained")
        axes = figure.subplots()
        points = []
        for name, results in (here | tutorials).items():
            if costs := [cost for result in results if (cost := getattr(result, measure))]:
                point = min(costs), 100 - fmean(recipes.percent(results))
                kind = "of the frontier" if name in here else "recipes of the tutorials"
                _mark(axes, kind, point, name if name in here else "")
                points.append((point[0], -point[1]))
        front = pareto_front(points)
        axes.step(
            [x for x, _ in front], [-y for _, y in front], "k-", where="post", lw=1, label="Pareto front of these"
        )
        known = sorted((one for one in published() if measure in one), key=lambda one: -one["accuracy"])
        for number, one in enumerate(known):
            kind = "published" if one["honest"] else "published, chosen on the test set"
            _mark(axes, kind, (one[measure], 100 - one["accuracy"]), one["name"], below=number % 2 == 1)
        axes.set(xscale="log", yscale="log", xlabel=unit, ylabel="test accuracy, %", title=f"accuracy against {unit}")
        axes.margins(x=0.12)
        axes.invert_yaxis()
        axes.set_yticks(TICKS, [f"{100 - tick:g}" for tick in TICKS])
        axes.yaxis.minorticks_off()
        axes.grid(alpha=0.3)
        handles, labels = axes.get_legend_handles_labels()
        once = dict(zip(labels, handles, strict=True))
        axes.legend(once.values(), once.keys(), frameon=False, fontsize=8)
        figure.savefig(PICTURES / f"frontier_{measure}.png", dpi=110)


def _mark(axes: Axes, kind: str, point: tuple[float, float], name: str, below: bool = False) -> None:
    """A point (cost, error in per cent) with its name."""
    marker, size, colour = MARKS[kind]
    width = 2 if marker == "x" else 0
    axes.plot(*point, marker, markersize=size, markeredgewidth=width, color=colour, label=kind, zorder=4)
    style = {"fontsize": 8, "color": colour, "path_effects": [withStroke(linewidth=3, foreground="white")]}
    axes.annotate(name, point, (6, -12 if below else 5), textcoords="offset points", **style)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python tools/frontier.py", description=__doc__.split("\n")[0])
    actions = parser.add_subparsers(dest="action", required=True)
    run = actions.add_parser("run", help="measure what is missing")
    run.add_argument("--only", default="", metavar="ROW,...", help="only these rows; else all of MNIST")
    run.add_argument("--runs", type=Path, default=ROOT / "outputs" / "frontier", help="where the run directories lie")
    run.add_argument("options", nargs="*", metavar="key=value", help="passed on to train.py, as data.root=../mnist")
    search = actions.add_parser("search", help="keep the summary of a search or sweep")
    search.add_argument("name")
    search.add_argument("folder", type=Path)
    search.add_argument("about", help="what was asked, and what came out")
    search.add_argument("--in-vain", nargs="*", default=[], metavar="KEY=VALUE", help="settings that did not help")
    actions.add_parser("table", help="only write the tables and plots")
    arguments = parser.parse_args()
    if arguments.action == "run":
        known = {row.name: row for row in rows()}
        only = [name for name in arguments.only.split(",") if name]
        for name in only:
            if name not in known:
                raise UserError(f"{name}: there is no such row; {did_you_mean(name, known)}")
        chosen = [row for name, row in known.items() if (name in only if only else _data(row) == "mnist")]
        measure(chosen, arguments.runs.absolute(), arguments.options)
    elif arguments.action == "search":
        keep_search(arguments.name, arguments.folder, arguments.about, arguments.in_vain)
    for name, part in parts().items():
        recipes.fill(DOCUMENT, name, part, "make frontier")
    draw()
    recipes.write_tables()


if __name__ == "__main__":
    with exit_on_user_error():
        main()
