"""Measure how fast it is, and compare it with others: ``make bench``, or ``python benchmarks/speed.py [SECTION...]``.

Every comparison measures its sides in turn and states a ratio. Each section keeps its figures, with the machine and the
date, in docs/results/benchmarks. docs/BENCHMARKS.md is written from these files; ``--table`` only writes it.
Some sections need MNIST itself, in data/ or in the folder that MNIST_LAB_DATA names, and are skipped without it. Keras,
TensorFlow and JAX are expected in .venv-peers (``make peers``) and skipped without it.
"""

import argparse
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
from unittest import mock

import mnist_lab

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tools"))

from recipes import mean_std  # noqa: E402

HERE = Path(__file__).parent
KEPT = ROOT / "docs" / "results" / "benchmarks"
PEERS = Path(os.environ.get("PEERS_PYTHON", ROOT / ".venv-peers" / "bin" / "python"))
DATA = Path(os.environ.get("MNIST_LAB_DATA", ROOT / "data"))
# For each network: optimiser, batch size, steps in train.py and in the plain loop, steps in a stretch of the peers.
RECIPES = {
    "softmax": ("sgd", 100, 10_000, 2000),
    "mlp_relu": ("adam", 100, 4000, 600),
    "strided_convnet": ("adam", 100, 1000, 200),
    "convnet": ("adam", 50, 400, 60),
}
# The switches of the group speed that change a step, the network on which each is measured, and what it does.
SWITCHES = (
    ("lean_steps", "softmax", "lean steps"),
    ("lean_steps", "mlp_relu", "lean steps"),
    ("space_to_depth_convs", "strided_convnet", "first convolutions in space-to-depth form"),
    ("onednn_dense", "convnet", "large dense layers by oneDNN"),
    ("kept_memory", "strided_convnet", "freed memory kept"),
)
ROUNDS = 3
# What keeps torch, oneDNN and MKL from the instructions that other processors do not have.
AVX2_AT_MOST = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
OF_MNIST = ("bf16_accuracy", "start", "memory", "fast99")  # sections that need MNIST

Table = dict[str, Any]
SECTIONS: dict[str, Callable[[], Table]] = {}


def section(measure: Callable[[], Table]) -> Callable[[], Table]:
    SECTIONS[measure.__name__] = measure
    return measure


def run(*command: str | Path) -> tuple[str, float, float]:
    """The last line a command prints, its seconds and its peak memory in MB. Raises RuntimeError where it fails."""
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
    """The result of a run of train.py, with ``step_ms``: milliseconds per step, the median over what it logged."""
    with tempfile.TemporaryDirectory() as folder:
        where = f"hydra.run.dir={folder}/run"
        _, seconds, memory = run(sys.executable, ROOT / "train.py", where, *overrides)
        ended = mnist_lab.load(Path(folder, "run"))
        result, speeds = ended.result, list(ended.metrics.get("images_per_second", ()))
    step = 1000 * result.settings["data.batch_size"] / median(speeds[1:] or speeds) if speeds else None
    return vars(result) | {"step_ms": step, "seconds": seconds, "memory": memory}


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
    """The median ratio over the rounds, with the lowest and the highest."""
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
                some = few // 5 if name == "jax" and "convnet" in model else few  # half a second per step
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
        "text": "Milliseconds per step. train.py includes its logging, progress and checks. *Usual*: plain PyTorch as "
        "tutorials write it (NCHW, plain update). *Best*: the same with channels-last order and fused updates. Keras "
        "by `fit`, TensorFlow by `tf.function`, JAX by `lax.scan`; the same networks, optimisers and batch sizes.",
        "columns": ["network", "batch", "usual", "best", "train.py", "Keras", "TensorFlow", "JAX"]
        + ["train.py / best", "train.py / Keras"],
        "rows": rows,
    }


@section
def changes() -> Table:
    """What each change brings"""
    rows = []

    def row(what: str, where: str, without: list[float], with_it: list[float], unit: str = "ms") -> None:
        rows.append([what, where, f"{number(without)} {unit}", f"{number(with_it)} {unit}", ratio(with_it, without)])
        print(rows[-1], flush=True)

    for switch, model, what in SWITCHES:
        options = [*recipe(model), f"trainer.max_steps={RECIPES[model][2]}"]
        sides: dict[str, Callable[[], float]] = {
            "off": lambda o=options, s=switch: train_step(*o, f"speed.{s}=false"),
            "on": lambda o=options, s=switch: train_step(*o, f"speed.{s}=true"),
        }
        measured = in_turn(sides)
        row(f"{what} (speed/{switch}.py)", f"a step of {model}", measured["off"], measured["on"])
    pairs = [plain("gather") for _ in range(ROUNDS)]
    gathered = "images gathered by index_select (data/batches.py)"
    row(gathered, "1,000 images", [pair["without"] for pair in pairs], [pair["with"] for pair in pairs])
    begin, end = "from mnist_lab.speed.deferred_imports import defer_imports", "import pytorch_lightning"
    measured = in_turn(
        {
            "off": lambda: run(sys.executable, "-c", f"{begin}; {end}")[1],
            "on": lambda: run(sys.executable, "-c", f"{begin}; defer_imports(); {end}")[1],
        }
    )
    row("deferred imports (speed/deferred_imports.py)", "import of Lightning", measured["off"], measured["on"], "s")
    return {
        "text": "Each change is switched off and on; everything else is the same.",
        "columns": ["change", "measured on", "without", "with", "ratio"],
        "rows": rows,
    }


@section
def augment() -> Table:
    """What augmented images cost"""
    rows = []
    for model in ("strided_convnet", "convnet"):
        options, many = recipe(model), RECIPES[model][2]
        measured = in_turn(
            {
                kind: lambda o=options, n=many, k=kind: train_step(*o, f"trainer.max_steps={n}", f"augment={k}")
                for kind in ("none", "shift", "affine", "elastic")
            }
        )
        rows += [
            [f"{model}, {kind}", number(measured[kind]), ratio(measured[kind], measured["none"])]
            for kind in list(measured)[1:]
        ]
        print(rows[-3:], flush=True)
    return {
        "text": "Milliseconds per step of the two convolutional networks, and how many times as long that is as with "
        "`augment=none`.",
        "columns": ["network, augment", "ms", "ratio"],
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
        "text": "Milliseconds per step: the best plain loop in float32, train.py in float32, and train.py with "
        "`trainer.precision=bf16-mixed`; then how many times as fast bf16 is as each of the other two. Two rounds.",
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
        rows.append([kind, mean_std(reached), number([r["fit_seconds"] for r in runs])])
        print(rows[-1], flush=True)
    return {
        "text": "`python train.py model=convnet optim=adam data=mnist trainer.precision=...`, 1,000 steps, seeds 0 to "
        "4: test accuracy in percent, mean ± standard deviation, and seconds of training.",
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
        speeds = [o["speed"] for o in ours]
        more = number([o["MB"] - o["data"] for o in ours])
        against = ratio(speeds, max(usual.values(), key=median)) if (images, batch) == (60_000, 100) else "-"
        rows.append([f"{images:,}", batch, number(speeds), number([o["data"] for o in ours]), more, against])
        print(rows[-1], flush=True)
    return {
        "text": "Millions of images per second, shuffled, from uint8 in memory to float32 batches; megabytes of the "
        "data and of everything else. torchvision's MNIST with ToTensor and DataLoader, in batches of 100, reaches "
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
        "text": "Milliseconds for loss and accuracy, by a plain loop over batches of 1,000 and by mnist_lab.",
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
        "text": "Seconds from the start of the process to its end, and its peak memory: a plain script (torch and "
        "torchvision only); only the imports of torch, torchvision, Lightning and Hydra; train.py with TensorBoard.",
        "columns": ["what", "plain script", "imports alone", "train.py", "train.py / script", "train.py / imports"],
        "rows": rows,
    }


@section
def memory() -> Table:
    """Peak memory"""
    deferred = "from mnist_lab.speed.deferred_imports import defer_imports; defer_imports()"
    imports = run(sys.executable, "-c", f"{deferred}; import mnist_lab.experiment, mnist_lab.tensorboard")[2]
    rows = [["the imports of train.py alone", f"{imports:.0f}", "-"]]
    for model in RECIPES:
        peak = train(*recipe(model), "data=mnist", f"data.root={DATA}", "trainer.max_steps=100")["memory"]
        rows.append([f"train.py model={model}", f"{peak:.0f}", f"{peak - imports:.0f}"])
        print(rows[-1], flush=True)
    return {
        "text": "Of the whole process, in MB, with MNIST in memory: training, validation and test; and how much of it "
        "is above the imports.",
        "columns": ["what", "MB", "above the imports"],
        "rows": rows,
    }


@section
def growth() -> Table:
    """How the time of a step grows"""
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
        "text": "Milliseconds per step of the ReLU MLP with one change: the batch size (otherwise 100), or two hidden "
        "layers of one width (otherwise 200, 100, 60 and 30). One round. *Loading data*, above, shows how loading "
        "depends on the number of images.",
        "columns": ["changed", "best", "train.py", "ratio"],
        "rows": rows,
    }


@section
def fast99() -> Table:
    """99% in seconds"""
    rows = []
    for kernels, options, environment in (
        ("all that the processor has", [], {}),
        ("AVX2 at most", ["trainer.precision=32-true"], AVX2_AT_MOST),
    ):
        with mock.patch.dict(os.environ, environment):
            runs = [train("experiment=fast99", f"data.root={DATA}", f"seed={n}", *options) for n in range(10)]
        reached = [100 * r["test_accuracy"] for r in runs]
        row = [kernels, mean_std(reached), f"{min(reached):.2f}", number([r["fit_seconds"] for r in runs])]
        row += [number([r["seconds"] for r in runs]), number(max(r["seconds"] for r in runs)), runs[0]["precision"]]
        rows.append(row)
        print(row, flush=True)
    return {
        "text": "`python train.py experiment=fast99`, seeds 0 to 9, each in its own process: test accuracy in percent, "
        "measured once; seconds of training, and of the process from its start to its end. The second row stands for a "
        "processor without AVX-512: torch, oneDNN and MKL are told to use no more than AVX2.",
        "columns": ["instructions", "test accuracy, %", "least", "training, s", "whole process, s", "slowest, s"]
        + ["precision"],
        "rows": rows,
    }


def machine() -> str:
    """Processor, cores and versions."""
    import torch

    from mnist_lab.runs.provenance import provenance

    facts = provenance()
    libraries = ", ".join(f"{n} {facts['versions'][n]}" for n in ("torch", "torchvision", "pytorch-lightning"))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{facts['cpu']} ({torch.backends.cpu.get_cpu_capability()}), {facts['cores']} cores, "
        f"{memory:.0f} GiB; Python {facts['python']}, {libraries}"
    )


def kept(name: str) -> Table | None:
    """The kept figures of a section, if any."""
    path = KEPT / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


# The targets: the section, how the first cell of the row begins, the column, and the bound.
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
    *(("augment", f"{model}, elastic", "ratio", "<=", 1.1) for model in ("strided_convnet", "convnet")),
    *(("memory", f"train.py model={model}", "above the imports", "<=", 300.0) for model in RECIPES),
    ("fast99", "all", "test accuracy, %", ">=", 99.0),
    ("fast99", "all", "training, s", "<=", 1.3),
    ("fast99", "all", "whole process, s", "<=", 8.0),
    ("fast99", "AVX2", "training, s", "<=", 3.0),
]


def targets() -> list[str]:
    """The table of the targets and the figures reached."""
    lines = ["## Targets", "", "| figure | target | reached | |", "|---|---|---|---|"]
    for name, first, column, sign, bound in TARGETS:
        if not (table := kept(name)):
            continue
        rows = [dict(zip(table["columns"], map(str, row), strict=True)) for row in table["rows"]]
        named = [row for row in rows if next(iter(row.values())).startswith(first)]
        row = next((row for row in named if name != "data" or row["batch"] == "100"), None)
        if row is None:  # measured before there was such a row
            continue
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
    """Write docs/BENCHMARKS.md: the text of about.md around the kept figures."""
    about = (HERE / "about.md").read_text()
    parts = ["\n".join(targets())]
    for name, measure in SECTIONS.items():
        if not (table := kept(name)):
            continue
        lines = [f"## {(measure.__doc__ or name).strip()}", "", table["text"], ""]
        lines += ["| " + " | ".join(table["columns"]) + " |", "|" + "---|" * len(table["columns"])]
        lines += ["| " + " | ".join(map(str, row)) + " |" for row in table["rows"]]
        lines += ["", f"*{table['date']}, {table['machine']}; `python benchmarks/speed.py {name}`*", ""]
        parts.append("\n".join(lines))
    (ROOT / "docs" / "BENCHMARKS.md").write_text(about.replace("{{figures}}", "\n".join(parts)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(SECTIONS))
    parser.add_argument("--table", action="store_true", help="only write docs/BENCHMARKS.md")
    given = parser.parse_args()
    if unknown := set(given.sections) - set(SECTIONS):
        parser.error(f"there is no section {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    if not PEERS.exists() and not given.table:
        print(f"skipped: Keras, TensorFlow and JAX ({PEERS} does not exist; make peers)")
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
