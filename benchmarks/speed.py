"""How fast it is, beside others: ``make bench``, or ``python benchmarks/speed.py [SECTION...]``.

Every comparison runs its sides in turn and states a ratio. Each section keeps its figures, with the machine and the
date, in docs/results/benchmarks; docs/BENCHMARKS.md is written from these files (``--table`` writes it alone).
Some sections need MNIST itself, in data/ or where MNIST_LAB_DATA says, and are skipped without it. Keras, TensorFlow
and JAX are looked for in .venv-peers (``make peers``; skipped without it).
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from mnist_lab.recipes import spread

ROOT = Path(__file__).parents[1]
HERE = Path(__file__).parent
KEPT = ROOT / "docs" / "results" / "benchmarks"
PEERS = Path(os.environ.get("PEERS_PYTHON", ROOT / ".venv-peers" / "bin" / "python"))
DATA = Path(os.environ.get("MNIST_LAB_DATA", ROOT / "data"))
# The network's recipe: optimiser, batch size; steps measured in train.py and by hand, and by the peers a stretch.
RECIPES = {
    "softmax": ("sgd", 100, 10_000, 2000),
    "mlp_relu": ("adam", 100, 4000, 600),
    "strided_convnet": ("adam", 100, 1000, 200),
    "convnet": ("adam", 50, 400, 60),
}
ROUNDS = 3
OF_MNIST = ("bf16_accuracy", "start", "memory", "fast99")  # sections that need it

Table = dict[str, Any]
SECTIONS: dict[str, Callable[[], Table]] = {}


def section(measure: Callable[[], Table]) -> Callable[[], Table]:
    SECTIONS[measure.__name__] = measure
    return measure


def run(*command: str | Path) -> tuple[str, float, float]:
    """What a command prints last, its seconds and its peak of memory in MB."""
    began = time.perf_counter()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(list(map(str, command)), stdout=out, stderr=err)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        out.seek(0)
        err.seek(0)
        if status:
            raise RuntimeError(f"{' '.join(map(str, command))}\n{err.read()[-2000:]}")
        return (out.read().strip().splitlines() or [""])[-1], seconds, usage.ru_maxrss / 1024


def recipe(model: str) -> list[str]:
    optim, batch, *_ = RECIPES[model]
    return [f"model={model}", f"optim={optim}", f"data.batch_size={batch}"]


def plain(*arguments: str) -> Any:
    return json.loads(run(sys.executable, HERE / "plain.py", *arguments)[0])


def peer(model: str, side: str, steps: int) -> float:
    return float(run(PEERS, HERE / "peers.py", model, side, str(steps))[0])


def train(*overrides: str) -> dict[str, Any]:
    """The result of a run of train.py, with the milliseconds of its steps by the median over stretches of 50."""
    with tempfile.TemporaryDirectory() as folder:
        where = f"hydra.run.dir={folder}/run"
        _, seconds, memory = run(sys.executable, ROOT / "train.py", where, *overrides)
        result: dict[str, Any] = json.loads(Path(folder, "run", "result.json").read_text())
        with Path(folder, "run", "metrics.csv").open() as file:
            speeds = [float(row["images_per_second"]) for row in csv.DictReader(file) if row.get("images_per_second")]
    batch = result["settings"]["data.batch_size"]
    step = 1000 * batch / median(speeds[1:] or speeds) if speeds else None
    return result | {"step_ms": step, "seconds": seconds, "memory": memory}


def train_step(*overrides: str) -> float:
    fake = ["data=fake", "data.generated=[60000,500]", "trainer.log_every_n_steps=50", "test=false"]
    return float(train(*fake, *overrides)["step_ms"])


def in_turn(sides: dict[str, Callable[[], float]], rounds: int = ROUNDS) -> dict[str, list[float]]:
    measured: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, measure in sides.items():
            measured[name].append(measure())
    return measured


def ratio(over: list[float], under: list[float]) -> str:
    """The median of the rounds' ratios, with their range."""
    each = [a / b for a, b in zip(over, under, strict=True)]
    return f"{median(each):.2f} ({min(each):.2f}-{max(each):.2f})"


def number(values: list[float] | float) -> str:
    value = median(values) if isinstance(values, list) else values
    return f"{value:.3f}" if value < 1 else f"{value:.2f}" if value < 100 else f"{value:.0f}"


@section
def steps() -> Table:
    """One training step of each network"""
    rows = []
    for model, (_, batch, many, few) in RECIPES.items():
        options = recipe(model)
        sides: dict[str, Callable[[], float]] = {
            "usual": lambda o=options, n=many: plain("step", "usual", str(n), *o),
            "best": lambda o=options, n=many: plain("step", "best", str(n), *o),
            "train.py": lambda o=options, n=many: train_step(*o, f"trainer.max_steps={n}"),
        }
        if PEERS.exists():
            for name in ("keras", "tf.function", "jax"):
                some = few // 5 if name == "jax" and "convnet" in model else few  # half a second a step
                sides[name] = lambda m=model, s=name, n=some: peer(m, s, n)
        measured = in_turn(sides)
        ours = measured["train.py"]
        peers = [number(measured[n]) if n in measured else "absent" for n in ("keras", "tf.function", "jax")]
        against = ratio(ours, measured["keras"]) if "keras" in measured else "absent"
        rows.append(
            [model, batch, *(number(measured[s]) for s in ("usual", "best", "train.py")), *peers]
            + [ratio(ours, measured["best"]), against]
        )
        print(rows[-1], flush=True)
    return {
        "text": "Milliseconds, in train.py with its logging, progress and checks. *Usual*: plain PyTorch as tutorials "
        "write it (NCHW, plain update). *Best*: the same with channels-last order and fused updates. Keras by `fit`, "
        "TensorFlow by `tf.function`, JAX by `lax.scan`; the same networks, optimisers and batches.",
        "columns": ["network", "batch", "usual", "best", "train.py", "Keras", "TensorFlow", "JAX"]
        + ["train.py / best", "train.py / Keras"],
        "rows": rows,
    }


@section
def changes() -> Table:
    """What each change brings, alone"""
    rows = []

    def row(what: str, where: str, without: list[float], with_it: list[float], unit: str = "ms") -> None:
        rows.append([what, where, f"{number(without)} {unit}", f"{number(with_it)} {unit}", ratio(with_it, without)])
        print(rows[-1], flush=True)

    for model in ("softmax", "mlp_relu"):
        options = [*recipe(model), f"trainer.max_steps={RECIPES[model][2]}"]
        measured = in_turn(
            {
                "without": lambda o=options: train_step(*o, "callbacks.lean=null"),
                "with": lambda o=options: train_step(*o),
            }
        )
        row("lean steps (callbacks/lean.py)", f"a step of {model}", measured["without"], measured["with"])
    for what, where, name in (
        ("first layers in halves (networks/layers.py)", "a step of strided_convnet", "halves"),
        ("large dense layers by oneDNN (networks/layers.py)", "a step of convnet", "dense"),
        ("images gathered by index_select (data/batches.py)", "1,000 images", "gather"),
    ):
        pairs = [plain(name) for _ in range(ROUNDS)]
        row(what, where, [p["without"] for p in pairs], [p["with"] for p in pairs])
    measured = in_turn({"freed": lambda: plain("memory", "freed"), "kept": lambda: plain("memory", "kept")})
    row("freed memory kept (experiment.py)", "a plain step of strided_convnet", measured["freed"], measured["kept"])
    measured = in_turn(
        {
            "all": lambda: run(sys.executable, "-c", "import pytorch_lightning")[1],
            "quick": lambda: run(sys.executable, "-c", "from mnist_lab import start; start.quickly()")[1],
        }
    )
    row("imports left for later (start.py)", "import of Lightning", measured["all"], measured["quick"], "s")
    return {
        "text": "Each is switched off and on, everything else the same.",
        "columns": ["change", "measured on", "without", "with", "ratio"],
        "rows": rows,
    }


@section
def precision() -> Table:
    """bf16 against float32"""
    rows = []
    for model in ("strided_convnet", "convnet"):
        options, many = recipe(model), RECIPES[model][2]
        measured = in_turn(
            {
                "plain": lambda o=options, n=many: plain("step", "best", str(n), *o),
                "32-true": lambda o=options, n=many: train_step(*o, f"trainer.max_steps={n}"),
                "bf16-mixed": lambda o=options, n=many: train_step(
                    *o, f"trainer.max_steps={n}", "trainer.precision=bf16-mixed"
                ),
            },
            rounds=2,
        )
        rows.append(
            [model, *(number(measured[s]) for s in measured)]
            + [ratio(measured["32-true"], measured["bf16-mixed"]), ratio(measured["plain"], measured["bf16-mixed"])]
        )
        print(rows[-1], flush=True)
    return {
        "text": "Milliseconds a step, float32 at its plain best, in train.py, and in train.py with "
        "`trainer.precision=bf16-mixed`; how many times as fast bf16 is as each. "
        "Two rounds.",
        "columns": ["network", "best, float32", "train.py, float32", "train.py, bf16", "times train.py", "times best"],
        "rows": rows,
    }


@section
def bf16_accuracy() -> Table:
    """Accuracy with bf16"""
    rows = []
    for kind in ("32-true", "bf16-mixed"):
        options = ["model=convnet", "optim=adam", "data=mnist", f"data.root={DATA}", f"trainer.precision={kind}"]
        runs = [train(*options, f"seed={seed}") for seed in range(5)]
        reached = [100 * r["test_accuracy"] for r in runs]
        rows.append([kind, spread(reached), number([r["fit_seconds"] for r in runs])])
        print(rows[-1], flush=True)
    return {
        "text": "`python train.py model=convnet optim=adam data=mnist trainer.precision=...`, 1,000 steps, "
        "seeds 0 to 4: "
        "percent of the test images, mean ± standard deviation, and seconds of training.",
        "columns": ["precision", "test accuracy, %", "seconds"],
        "rows": rows,
    }


@section
def data() -> Table:
    """Loading data"""
    rows = []
    usual = in_turn({w: lambda w=w: plain("torchvision_loader", w) for w in ("0", "2")})
    for images, batch in ((60_000, 10), (60_000, 100), (60_000, 1000), (600_000, 100), (6_000_000, 100)):
        ours = [plain("loader", str(images), str(batch)) for _ in range(ROUNDS)]
        rates = [o["rate"] for o in ours]
        more = number([o["MB"] - o["data"] for o in ours])
        against = ratio(rates, max(usual.values(), key=median)) if (images, batch) == (60_000, 100) else "-"
        rows.append([f"{images:,}", batch, number(rates), number([o["data"] for o in ours]), more, against])
        print(rows[-1], flush=True)
    return {
        "text": "Millions of images a second, shuffled, from uint8 in memory to float32 batches; megabytes of the data "
        "and of all else. torchvision's MNIST with ToTensor and DataLoader gives, at batches of 100, "
        f"{number(usual['0'])} without workers and {number(usual['2'])} with two.",
        "columns": ["images", "batch", "million/s", "data, MB", "more, MB", "times DataLoader"],
        "rows": rows,
    }


@section
def evaluation() -> Table:
    """Evaluating 10,000 images"""
    rows = []
    for model in RECIPES:
        pairs = [plain("evaluation", *recipe(model)) for _ in range(ROUNDS)]
        usual, ours = ([p[side] for p in pairs] for side in ("usual", "ours"))
        rows.append([model, number(usual), number(ours), ratio(ours, usual)])
        print(rows[-1], flush=True)
    return {
        "text": "Milliseconds for loss and accuracy, by a loop over batches of 1,000 and by ours.",
        "columns": ["network", "loop by hand", "ours", "ratio"],
        "rows": rows,
    }


@section
def start() -> Table:
    """Whole processes"""
    common = ["model=softmax", "optim=sgd", "data=mnist", f"data.root={DATA}"]
    sides: dict[str, Callable[[str], tuple[str, float, float]]] = {
        "script": lambda n: run(sys.executable, HERE / "plain.py", "script", str(DATA), n),
        "lightning": lambda n: run(sys.executable, "-c", "import torch, torchvision, pytorch_lightning, hydra"),
    }
    rows = []
    for what, n in (("one step, no test", "1"), ("1,000 steps of softmax and the test", "1000")):
        times: dict[str, list[tuple[float, float]]] = {"script": [], "lightning": [], "train.py": []}
        for _ in range(ROUNDS):
            for side, call in sides.items():
                times[side].append(call(n)[1:])
            ours = train(*common, f"trainer.max_steps={n}", f"test={str(n != '1').lower()}")
            times["train.py"].append((ours["seconds"], ours["memory"]))
        seconds = {side: [t for t, _ in each] for side, each in times.items()}
        memory = {side: median(m for _, m in each) for side, each in times.items()}
        rows.append(
            [what, *(f"{number(seconds[s])} s, {memory[s]:.0f} MB" for s in times)]
            + [ratio(seconds["train.py"], seconds["script"]), ratio(seconds["train.py"], seconds["lightning"])]
        )
        print(rows[-1], flush=True)
    return {
        "text": "From the command to its end, and the peak of memory: a plain script (torch and torchvision only); the "
        "imports alone of torch, torchvision, Lightning and Hydra; train.py, with TensorBoard.",
        "columns": ["what", "plain script", "imports alone", "train.py", "train.py / script", "train.py / imports"],
        "rows": rows,
    }


@section
def memory() -> Table:
    """Peak of memory"""
    imports = run(sys.executable, "-c", "from mnist_lab import start; start.quickly(); import mnist_lab.experiment")[2]
    rows = [["the imports of train.py alone", f"{imports:.0f}", "-"]]
    for model in RECIPES:
        peak = train(*recipe(model), "data=mnist", f"data.root={DATA}", "trainer.max_steps=100")["memory"]
        rows.append([f"train.py model={model}", f"{peak:.0f}", f"{peak - imports:.0f}"])
        print(rows[-1], flush=True)
    return {
        "text": "Of the whole process, in MB: MNIST in memory, training, validation, test; and above the imports.",
        "columns": ["what", "MB", "above the imports"],
        "rows": rows,
    }


@section
def growth() -> Table:
    """How a step grows"""
    rows = []
    cases: list[tuple[str, list[str], str]] = [
        *(
            (f"batch of {b}", [f"data.batch_size={b}"], n)
            for b, n in ((10, "5000"), (100, "2000"), (1000, "400"), (10_000, "200"))
        ),
        *(
            (f"hidden layers of {w}", [f"model.hidden=[{w},{w}]"], n)
            for w, n in ((50, "800"), (200, "800"), (800, "400"), (3200, "200"))
        ),
    ]
    for what, options, many in cases:
        common = ["model=mlp_relu", "optim=adam", *options]
        measured = in_turn(
            {
                "best": lambda n=many, o=common: plain("step", "best", n, *o),
                "train.py": lambda n=many, o=common: train_step(*o, f"trainer.max_steps={n}"),
            },
            rounds=1,
        )
        rows.append([what, number(measured["best"]), number(measured["train.py"])])
        rows[-1].append(ratio(measured["train.py"], measured["best"]))
        print(rows[-1], flush=True)
    return {
        "text": "Milliseconds a step of the ReLU MLP, changed in one thing: batches (of 100 otherwise), or two layers "
        "of some width (200, 100, 60 and 30 otherwise). One round. "
        "Loading, above, has the growth with the number of images.",
        "columns": ["changed", "best", "train.py", "ratio"],
        "rows": rows,
    }


@section
def fast99() -> Table:
    """99% in seconds"""
    runs = [train("experiment=fast99", f"data.root={DATA}", f"seed={seed}") for seed in range(10)]
    reached = [100 * r["test_accuracy"] for r in runs]
    return {
        "text": "`python train.py experiment=fast99`, seeds 0 to 9, each a process: percent of the test images, tested "
        "once; seconds of training, and of the process from its start to its end.",
        "columns": ["test accuracy, %", "least", "training, s", "whole process, s", "slowest, s", "precision"],
        "rows": [
            [spread(reached), f"{min(reached):.2f}"]
            + [number([r["fit_seconds"] for r in runs]), number([r["seconds"] for r in runs])]
            + [number(max(r["seconds"] for r in runs)), runs[0]["precision"]]
        ],
    }


def machine() -> str:
    """Processor, cores and versions."""
    import torch

    from mnist_lab.provenance import provenance

    facts = provenance()
    libraries = ", ".join(f"{n} {facts['versions'][n]}" for n in ("torch", "torchvision", "pytorch-lightning"))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{facts['cpu']} ({torch.backends.cpu.get_cpu_capability()}), {facts['cores']} cores, "
        f"{memory:.0f} GiB; Python {facts['python']}, {libraries}"
    )


def kept(name: str) -> Table | None:
    """What a section has measured."""
    path = KEPT / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


# What is aimed at: the section, the row's first cell, the column, and the least or most that will do.
TARGETS = [
    *(
        ("steps", model, "train.py / best", "<=", bound)
        for model, bound in zip(RECIPES, (1.3, 1.2, 1.05, 1.05), strict=True)
    ),
    *(("steps", model, "train.py / Keras", "<=", 0.7) for model in RECIPES),
    ("steps", "softmax", "train.py / JAX", "<=", 1.0),
    ("steps", "strided_convnet", "train.py", "<=", 5.0),
    ("precision", "convnet", "times train.py", ">=", 1.5),
    ("precision", "convnet", "times best", ">=", 1.5),
    ("data", "60,000", "million/s", ">=", 5.0),
    *(("memory", f"train.py model={model}", "above the imports", "<=", 300.0) for model in RECIPES),
    ("fast99", "", "test accuracy, %", ">=", 99.0),
    ("fast99", "", "training, s", "<=", 3.0),
    ("fast99", "", "whole process, s", "<=", 8.0),
]


def targets() -> list[str]:
    """What is aimed at, beside what is reached."""
    lines = ["## What is aimed at, and what is reached", "", "| figure | aim | reached | |", "|---|---|---|---|"]
    for name, first, column, sign, bound in TARGETS:
        if not (table := kept(name)):
            continue
        rows = [dict(zip(table["columns"], map(str, row), strict=True)) for row in table["rows"]]
        named = [row for row in rows if next(iter(row.values())).startswith(first)]
        row = next(row for row in named if name != "data" or row["batch"] == "100")
        if column == "train.py / JAX":
            reached = "absent" if row["JAX"] == "absent" else f"{float(row['train.py']) / float(row['JAX']):.2f}"
        else:
            reached = row[column]
        if reached == "absent":
            continue
        value = float(reached.split()[0])
        met = "met" if (value <= bound if sign == "<=" else value >= bound) else "not met"
        what = ", ".join(filter(None, (first, column)))
        lines.append(f"| {name}: {what} | {'at most' if sign == '<=' else 'at least'} {bound:g} | {reached} | {met} |")
    return [*lines, ""]


def write() -> None:
    """docs/BENCHMARKS.md, the text of about.md around the figures that are kept."""
    told = (HERE / "about.md").read_text()
    parts = ["\n".join(targets())]
    for name, measure in SECTIONS.items():
        if not (table := kept(name)):
            continue
        lines = [f"## {(measure.__doc__ or name).strip()}", "", table["text"], ""]
        lines += ["| " + " | ".join(table["columns"]) + " |", "|" + "---|" * len(table["columns"])]
        lines += ["| " + " | ".join(map(str, row)) + " |" for row in table["rows"]]
        lines += ["", f"*{table['date']}, {table['machine']}; `python benchmarks/speed.py {name}`*", ""]
        parts.append("\n".join(lines))
    (ROOT / "docs" / "BENCHMARKS.md").write_text(told.replace("{{figures}}", "\n".join(parts)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(SECTIONS))
    parser.add_argument("--table", action="store_true", help="measure nothing, write docs/BENCHMARKS.md")
    given = parser.parse_args()
    if unknown := set(given.sections) - set(SECTIONS):
        parser.error(f"there is no section {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    if not PEERS.exists() and not given.table:
        print(f"skipped: Keras, TensorFlow and JAX ({PEERS} is not there; make peers)")
    for name in [] if given.table else given.sections or list(SECTIONS):
        print(f"-- {name}", flush=True)
        if name in OF_MNIST and not (DATA / "MNIST").exists():
            print(f"skipped: {name} needs MNIST in {DATA}; set MNIST_LAB_DATA")
            continue
        table = SECTIONS[name]() | {"date": time.strftime("%Y-%m-%d"), "machine": machine()}
        KEPT.mkdir(parents=True, exist_ok=True)
        (KEPT / f"{name}.json").write_text(json.dumps(table, indent=1, ensure_ascii=False) + "\n")
    write()


if __name__ == "__main__":
    main()
