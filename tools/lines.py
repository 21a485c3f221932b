"""Count the lines of the core, file by file in the order of reading, and of each extra: ``python tools/lines.py``.

Writes the tables in docs/design.md. Lines are those of the files, comments, docstrings and blank lines included.
"""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "mnist_lab"
# The core, in the order in which to read it.
CORE = {
    "__init__.py": "the public interface: `train`, `load`, `Run`",
    "runs/lifecycle.py": "the life of a run: status, signals, record",
    "runs/directory.py": "names, places, the config of a run that goes on",
    "config.py": "what a config must be",
    "errors.py": "what a user is told",
    "experiment.py": "build, fit, test, result",
    "build.py": "what a config names becomes objects",
    "data/": "sources, IDX files, batches, the LightningDataModule",
    "networks/": "plain `nn.Module`s",
    "schedules.py": "the learning rate as a function of the step",
    "classifier.py": "the LightningModule",
    "callbacks/": "checkpoints, curves, progress, NaN guard, graceful stop",
    "runs/run.py": "a run directory as an object, its checkpoints verified",
    "runs/result.py": "`result.json` and its schema",
    "runs/metrics.py": "the reader of `metrics.csv`",
    "runs/provenance.py": "code, command, versions, machine",
    "runs/processes.py": "cores, rank, the end of a parent process",
    "runs/atomic.py": "files that are there as a whole or not at all",
}
EXTRAS = ("augment.py", "tensorboard/", "view/", "sweeps/", "speed/", "explore/", "page/")
# Version 0.1, counted when its files were sorted into the places they have now.
BEFORE = {
    "the core": 2588,
    "`tensorboard/`": 630,
    "`view/`": 1162,
    "`sweeps/`": 1023,
    "`speed/`": 234,
    "all of src/": 5917,
    "tests": 3723,
}


def files(place: str) -> list[Path]:
    """The Python files of a file or folder of the package."""
    return sorted((PACKAGE / place).rglob("*.py")) if place.endswith("/") else [PACKAGE / place]


def lines(paths: list[Path]) -> int:
    """Of all of them together."""
    return sum(len(path.read_text(encoding="utf-8").splitlines()) for path in paths)


def statements(paths: list[Path]) -> int:
    """Lines of code: without blank lines, comments, docstrings and imports."""
    count = 0
    for path in paths:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        left_out: set[int] = set()
        for node in ast.walk(tree):
            is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            if is_text or isinstance(node, ast.Import | ast.ImportFrom):
                left_out |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            count += number not in left_out and bool(line.strip()) and not line.strip().startswith("#")
    return count


def tables() -> dict[str, str]:
    """The core and the extras as they are, and beside what they were before the rebuilding, as Markdown."""
    core = [path for place in CORE for path in files(place)]
    everything = sorted((ROOT / "src").rglob("*.py"))
    now = {"the core": lines(core)} | {f"`{extra}`": lines(files(extra)) for extra in EXTRAS}
    others = "`mosaic.py`, `report.py`, `predict.py`, `export.py`, `ensemble.py`, `hydra_plugins/`"
    now[others] = lines(everything) - sum(now.values())
    rows = [f"| `{place}` | {lines(files(place))} | {what} |" for place, what in CORE.items()]
    rows.append(
        f"| **the core** | **{lines(core):,}** | {statements(core):,} of them code, the rest says what and why |"
    )
    now |= {"all of src/": lines(everything), "JavaScript": lines(sorted((PACKAGE / "page").glob("*.js")))}
    now |= {"tests": lines(sorted((ROOT / "tests").rglob("*.py")))}
    both = [f"| {part} | {f'{BEFORE[part]:,}' if part in BEFORE else '-'} | {count:,} |" for part, count in now.items()]
    return {
        "lines": "\n".join(["| | lines | |", "|---|---|---|", *rows]),
        "before and after": "\n".join(["| lines | 0.1 | now |", "|---|---|---|", *both]),
    }


def main() -> None:
    """Write the tables into docs/design.md."""
    path = ROOT / "docs" / "design.md"
    for name, table in tables().items():
        begin, end = f"<!-- {name}: written by `python tools/lines.py` -->\n", f"<!-- end of {name} -->"
        before, rest = path.read_text(encoding="utf-8").split(begin)
        path.write_text(f"{before}{begin}{table}\n{end}{rest.split(end)[1]}", encoding="utf-8")


if __name__ == "__main__":
    main()
