"""Export trained runs and compare the files with torch: size, accuracy, microseconds an image on one thread.

    python benchmarks/export.py outputs/softmax/<run> outputs/pooled/<run> ... [--zoo mnist.onnx]

Each run is tried as float32, as int8 and in torch, in turn. ``--zoo`` takes the MNIST network of the ONNX zoo
(github.com/onnx/models), which is not ours to keep. The figures are kept in docs/results/benchmarks/export.json; the
table in docs/export.md is written from there, with ``--table`` alone.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import mnist_lab
from mnist_lab.explore.export import Forward, Recogniser, by_onnxruntime, by_torch, export
from mnist_lab.explore.familiar import digits_of

sys.path.insert(0, str(Path(__file__).parent))
from speed import KEPT, ROOT, in_turn, machine, number, ratio

FIGURES, PAGE = KEPT / "export.json", ROOT / "docs" / "export.md"
BEGIN, END = "<!-- table: written by benchmarks/export.py -->", "<!-- end of table -->"
IMAGES = 2000


def microseconds(forward: Forward, images: Any, batch: int) -> Callable[[], float]:
    """A function that takes the time of an image, served in batches of ``batch``."""

    def measure() -> float:
        forward(images[:batch])
        began = time.perf_counter()
        for first in range(0, IMAGES, batch):
            forward(images[first : first + batch])
        return (time.perf_counter() - began) / IMAGES * 1e6

    return measure


def zoo(path: Path) -> Forward:
    """The zoo's network takes one float image a time, 0 to 255, and gives logits."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options)
    name = session.get_inputs()[0].name
    return lambda images: (session.run(None, {name: images.astype("float32")[:, None]})[0], None)  # type: ignore


def rows(directories: list[Path], other: Path | None, folder: Path) -> list[list[str]]:
    table = []
    sides: dict[str, Forward] = {}
    if other:
        sides["zoo"] = zoo(other)
    for directory in directories:
        run = mnist_lab.load(directory)
        name = f"{run.result.model}, `{run.result.name}`"
        data = digits_of(run)
        here: dict[str, Any] = {}
        for form, int8 in (("float32", False), ("int8", True)):
            path = folder / f"{form}.onnx"
            here[form] = export(run, path, int8=int8)
            sides[form] = by_onnxruntime(path, threads=1)
        sides["torch"] = by_torch(Recogniser(run.network()).eval())
        images = data.test_images.numpy()
        one = in_turn({side: microseconds(forward, images, 1) for side, forward in sides.items()})
        many = in_turn({side: microseconds(f, images, 1000) for side, f in sides.items() if side != "zoo"})
        for form, found in here.items():
            table.append(
                [
                    name if form == "float32" else "the same in 8 bits",
                    f"{found.bytes / 1000:,.1f}",
                    f"{found.accuracy:.2%}",
                    f"{found.same:,}",
                    number(one[form]),
                    number(many[form]),
                    ratio(one[form], one["torch"]),
                    ratio(many[form], many["torch"]),
                    ratio(one[form], one["zoo"]) if other else "",
                ]
            )
    if other:
        images, labels = data.test_images.numpy(), data.test_labels.numpy()
        correct = np.array([sides["zoo"](images[i : i + 1])[0].argmax() for i in range(len(images))]) == labels
        size = f"{other.stat().st_size / 1000:,.1f}"
        table.append(["the ONNX zoo's", size, f"{correct.mean():.2%}", "", number(one["zoo"]), "", "", "", ""])
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", type=Path)
    parser.add_argument("--zoo", type=Path)
    parser.add_argument("--table", action="store_true", help="write the table only")
    arguments = parser.parse_args()
    if not arguments.table:
        torch.set_num_threads(1)
        with tempfile.TemporaryDirectory() as folder:
            figures = {"machine": machine(), "rows": rows(arguments.runs, arguments.zoo, Path(folder))}
        FIGURES.write_text(json.dumps(figures, indent=1) + "\n")
    figures = json.loads(FIGURES.read_text())
    head = (
        "| network | kB | accuracy | torch's answers | us, one by one | us, by the thousand | over torch, one by one "
    )
    lines = [head + "| by the thousand | over the zoo's |", "|---|" + "---:|" * 8]
    lines += [f"| {' | '.join(row)} |" for row in figures["rows"]] + ["", f"*{figures['machine']}; one thread.*"]
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n" + "\n".join(lines) + f"\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main()
