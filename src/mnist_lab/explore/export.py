"""A trained network as one file that other software runs: ONNX, the .pt2 of torch.export, or a page for a browser.

ONNX and .pt2 take images as a data set holds them, uint8 (n, 28, 28), ink light on dark, for any n; they give
``logits`` and ``probabilities``, float32 (n, 10). Scaling and normalising are part of them. Before a file gets its name
its network is run on the whole test set and compared with torch.
"""

import argparse
import io
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mnist_lab.data.sources import Digits
from mnist_lab.errors import UserError, require_extra, short_path
from mnist_lab.explore.chosen import add_run, open_run
from mnist_lab.explore.familiar import digits_of
from mnist_lab.explore.one_file import one_file
from mnist_lab.explore.program import quantized
from mnist_lab.runs.atomic import atomic_write
from mnist_lab.runs.run import Run, read_result

TOLERANCE = 1e-4  # between logits
BATCHES = (1, 7, 1000)  # sizes that a dynamic batch is tried with
CALIBRATION_IMAGES = 1000

Images = NDArray[np.uint8]
Forward = Callable[[Images], tuple[NDArray[np.float32], NDArray[np.float32]]]  # images -> logits, probabilities


class Recogniser(nn.Module):
    """What is exported: images uint8 (n, 28, 28) -> logits and probabilities (n, 10)."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """As the class says."""
        logits = self.network(images.unsqueeze(1).float() / 255)
        return logits, logits.softmax(dim=1)


class Comparison(NamedTuple):
    """An exported file beside torch, on the test images."""

    images: int
    same: int  # images that get the same answer
    distance: float  # largest, between two logits
    accuracy: float  # of the file
    bytes: int

    def __str__(self) -> str:
        return (
            f"{self.bytes / 1000:,.1f} kB, accuracy {self.accuracy:.2%}; "
            f"{self.same:,} of {self.images:,} test images get torch's answer, "
            f"logits differ by up to {self.distance:.1g}"
        )


def export(run: Run, path: Path, form: str = "onnx", *, which: str = "last", int8: bool = False) -> Comparison:
    """Write the network of ``run`` to ``path``; how the file compares with torch.

    ``int8`` quantises an ONNX file, calibrated on training images; a page, ``html``, has 8 bits a weight always. Raises
    UserError where a file would not compute what torch computes (8 bits may differ); then none is left.
    """
    if form == "onnx":
        for package in ("onnx", "onnxscript", "onnxruntime"):
            require_extra(package, "export", "--format onnx")
    elif int8:
        raise UserError(f"--int8: is for --format onnx, not {form}")
    network, data = Recogniser(run.network(which)).eval(), digits_of(run)
    about = _about(run, which)
    if int8:
        about["test_accuracy_before_quantizing"] = about.pop("test_accuracy")
    with atomic_write(path) as partial, warnings.catch_warnings(action="ignore"):  # torch's, for its own authors
        if form == "onnx":
            _write_onnx(network, partial, about)
            if int8:
                _quantize(partial, data.train_images[:CALIBRATION_IMAGES].numpy())
        elif form == "html":
            partial.write_text(one_file(run, which), encoding="utf-8")
        else:
            _write_pt2(network, partial, about)
        exported = by_torch(quantized(network)) if form == "html" else OPEN[form](partial)
        found = compare(by_torch(network), exported, data, partial.stat().st_size)
        if not int8 and form != "html" and (found.same < found.images or not found.distance <= TOLERANCE):
            raise UserError(f"{path}: not written, for it is not what torch computes: {found}")
    return found


def by_torch(network: nn.Module) -> Forward:
    """``network`` as a function of arrays."""

    @torch.inference_mode()
    def forward(images: Images) -> Any:
        return tuple(output.numpy() for output in network(torch.from_numpy(images)))

    return forward


def by_pt2(path: Path) -> Forward:
    """The network in the file at ``path`` as a function of arrays."""
    return by_torch(torch.export.load(io.BytesIO(path.read_bytes())).module())


def by_onnxruntime(path: Path, threads: int = 0) -> Forward:
    """The network in the file at ``path`` as a function of arrays; ``threads`` 0: as many as there are cores."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(["logits", "probabilities"], {"images": images})


OPEN: dict[str, Callable[[Path], Forward]] = {"onnx": by_onnxruntime, "pt2": by_pt2}


def compare(expected: Forward, exported: Forward, data: Digits, size: int) -> Comparison:
    """Run both on the whole test set, and on batches of other sizes."""
    images, labels = data.test_images.numpy(), data.test_labels.numpy()
    same = correct = 0
    distance = 0.0
    starts = [*range(0, len(images), BATCHES[-1])]
    for first, length in [*((0, size) for size in BATCHES[:-1]), *((start, BATCHES[-1]) for start in starts)]:
        batch = images[first : first + length]
        (wanted, chances), (logits, probabilities) = expected(batch), exported(batch)
        distance = max(distance, *(float(np.abs(pair).max()) for pair in (logits - wanted, probabilities - chances)))
        if length == BATCHES[-1]:
            same += int((logits.argmax(1) == wanted.argmax(1)).sum())
            correct += int((logits.argmax(1) == labels[first : first + length]).sum())
    return Comparison(len(images), same, distance, correct / len(images), size)


def _write_onnx(network: nn.Module, path: Path, about: dict[str, str]) -> None:
    program = torch.onnx.export(
        network,
        (torch.zeros(2, 28, 28, dtype=torch.uint8),),  # two: of one, the exporter takes the size for a constant
        input_names=["images"],
        output_names=["logits", "probabilities"],
        dynamic_shapes=({0: torch.export.Dim("n")},),
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    assert program is not None
    for node in program.model.graph.all_nodes():  # it notes where in whose files each comes from
        node.metadata_props.clear()
    program.model.metadata_props.update(about)
    program.save(str(path), external_data=False)


def _quantize(path: Path, images: Images) -> None:
    """Quantise the ONNX file at ``path`` to 8 bits, statically: the ranges are those that ``images`` bring about."""
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.batches = iter(np.split(images, range(100, len(images), 100)))

        def get_next(self) -> dict[str, Images] | None:
            batch = next(self.batches, None)
            return None if batch is None else {"images": batch}

    quant_pre_process(path, path, skip_symbolic_shape=True)
    quantize_static(
        path,
        path,
        Reader(),
        op_types_to_quantize=["Conv", "Gemm", "MatMul"],
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )


def _write_pt2(network: nn.Module, path: Path, about: dict[str, str]) -> None:
    example = (torch.zeros(2, 28, 28, dtype=torch.uint8),)
    program = torch.export.export(network, example, dynamic_shapes=({0: torch.export.Dim("n")},))
    with path.open("wb") as file:
        torch.export.save(program, file, extra_files={"about.json": json.dumps(about, indent=1)})


def _about(run: Run, which: str) -> dict[str, str]:
    """What the file says about itself."""
    result = read_result(run.directory)
    return {
        "labels": json.dumps(run.classes, ensure_ascii=False),
        "run": run.directory.name,
        "name": str(result.name),
        "data": run.data,
        "checkpoint": which,
        "command": str(result.provenance.get("command")),
        "git_sha": str(result.provenance.get("git_sha")),
        "test_accuracy": str(result.test_accuracy),
    }


def main(words: list[str] | None = None) -> None:
    """Run the command line, or ``words`` in its place. Raises UserError for what cannot be exported."""
    parser = argparse.ArgumentParser(
        prog="python -m mnist_lab.export", description="Write a trained network to a file."
    )
    add_run(parser)
    parser.add_argument(
        "--format", choices=[*OPEN, "html"], default="onnx",
        help="default: %(default)s; pt2: for torch.export; html: a page to draw on, with the network in it",
    )  # fmt: skip
    parser.add_argument("--int8", action="store_true", help="quantise to 8 bits (onnx)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="default: model.<format> in the run directory")
    arguments = parser.parse_args(words)
    run = open_run(arguments)
    name = f"model.int8.{arguments.format}" if arguments.int8 else f"model.{arguments.format}"
    path = arguments.output or run.directory / name
    found = export(run, path, arguments.format, which=arguments.checkpoint, int8=arguments.int8)
    print(f"{short_path(path)}: {found}")
