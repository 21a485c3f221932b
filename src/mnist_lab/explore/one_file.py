"""The page Explore as one HTML file with a network inside: it opens from disk and asks nobody."""

import base64
from typing import Any

import torch

from mnist_lab.explore.familiar import Familiar, digits_of
from mnist_lab.explore.program import Program
from mnist_lab.explore.shown import Shown
from mnist_lab.page import document
from mnist_lab.runs.run import Run

MISTAKES = 200  # of the test set
_KNOWN = 2000  # training images that a drawing is compared with


def one_file(run: Run, which: str = "last") -> str:
    """The HTML of ``run`` with the weights ``which``, rounded to 8 bits.

    Raises UserError for a network that is none of ours, and where the run's data is no longer at hand.
    """
    program = Program(run.network(which))
    shown = Shown(run, which)
    *_, testset = shown.testset(MISTAKES)
    about = shown.about()
    inside = {
        "info": about | {"checkpoints": []},
        "operations": program.operations,
        "packed": _text(bytes(program.packed)),
        "familiar": _familiar(run),
        "testset": testset,
    }
    return document(f"mnist_lab: {about['name']}", "explore", {"network": inside}, whole=True)


def _familiar(run: Run) -> dict[str, Any]:
    """Fewer training images than :func:`mnist_lab.explore.familiar.familiar` has, in bytes, and their limit."""
    digits = digits_of(run)
    known = Familiar(digits.train_images, digits.train_labels, _KNOWN)
    labels = [label for label, images in enumerate(known.shown) for _ in images]
    images = torch.cat(known.shown)
    images = (images / images.amax(dim=1, keepdim=True).clamp(min=1e-9) * 255).round().byte()
    return {"images": _text(images.numpy().tobytes()), "labels": labels, "least": float(known.least)}


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()
