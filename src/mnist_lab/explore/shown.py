"""What the page about a run shows: what it is, what its network does with an image, the test set's mistakes."""

import base64
import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from mnist_lab.errors import UserError
from mnist_lab.explore.familiar import Familiar, digits_of, familiar
from mnist_lab.explore.inside import Array, Inside
from mnist_lab.runs.run import DamagedCheckpoint, Run, read_result, verify_checkpoint

_BATCH = 100
METHODS = ("gradient", "integrated", "occlusion")


class Shown:
    """``run`` with the weights ``checkpoint``. Raises UserError where there are none."""

    def __init__(self, run: Run, checkpoint: str = "last"):
        if not re.fullmatch(r"[\w-]+", checkpoint):
            raise UserError(f"checkpoint={checkpoint}: is not the name of one")
        self.run, self.checkpoint = run, checkpoint
        self.inside = Inside(run.network(checkpoint))
        self._familiar: Familiar | None = None

    def about(self) -> dict[str, Any]:
        """What the page says about it."""
        result = read_result(self.run.directory)
        tested = str(self.run.config.get("checkpoint") or "last") == self.checkpoint
        return {
            "run": self.run.directory.name,
            "name": result.name,
            "model": result.model,
            "data": self.run.data,
            "classes": self.run.classes,
            "parameters": result.parameters,
            "test_accuracy": result.test_accuracy if tested else None,
            "checkpoint": self.checkpoint,
            "training_step": self.run.checkpoint(self.checkpoint).step,
            "checkpoints": checkpoints(self.run),
            "steps": [step._asdict() for step in self.inside.steps],
        }

    def learn_familiar(self) -> None:
        """Make ready to say what is unlike the training images, where these are at hand."""
        try:
            self._familiar = _familiar(self.run)
        except UserError:
            return

    def look(self, image: Array, methods: Sequence[str] = (), target: int | None = None) -> Array:
        """What the network does with an image (28, 28), one after the other: (n,).

        Whether it is unlike the training images (0 or 1, NaN: unknown), ten logits, each step's output, and where it
        looked by ``methods`` for the class ``target`` (None: the most probable). Raises ValueError as :meth:`looked`.
        """
        logits, values = self.inside.look(image)
        known, best = self._familiar, int(logits.argmax())
        strange = known.strange(image[None], np.array([best]))[0] if known else math.nan
        where = [self.looked(image, method, best if target is None else target) for method in methods]
        return np.concatenate([[strange], logits, *(value.ravel() for value in (*values, *where))])

    def looked(self, image: Array, method: str, target: int) -> Array:
        """Where it looked for the class ``target``, (28, 28), by one of METHODS. Raises ValueError for others."""
        if method not in METHODS or not 0 <= target < 10:
            raise ValueError(f"method={method}, target={target}: must be one of {', '.join(METHODS)}, and 0 to 9")
        inside = self.inside
        of = {"gradient": inside.gradient, "integrated": inside.integrated_gradients, "occlusion": inside.occlusion}
        return of[method](image, target)

    def unit(self, image: Array, step: int, index: int) -> Array:
        """A unit's bias, its sum, its inputs and its weights: (n,)."""
        unit = self.inside.unit(image, step, index)
        return np.concatenate([[unit.bias, unit.sum], unit.inputs.ravel(), unit.weights.ravel()])

    def testset(self, most: int = 1000) -> Iterator[dict[str, Any] | None]:
        """The first ``most`` mistakes on the test set, how many there are, and the mean image of each class.

        It comes last; before it None for each batch, so that others get their turn. Raises UserError where the data is
        no longer at hand.
        """
        digits = digits_of(self.run)
        mistakes, images, count = [], [], 0
        for begin in range(0, len(digits.test_labels), _BATCH):
            batch, labels = digits.test_images[begin : begin + _BATCH], digits.test_labels[begin : begin + _BATCH]
            with torch.inference_mode():
                chances = self.inside.network(batch[:, None] / 255).softmax(1)
            predicted = chances.argmax(1)
            for i in (predicted != labels).nonzero().flatten().tolist():
                count += 1
                if count <= most:
                    truth = {"index": begin + i, "label": int(labels[i]), "predicted": int(predicted[i])}
                    mistakes.append(truth | {"probability": round(float(chances[i].max()), 4)})
                    images.append(batch[i].numpy())
            yield None
        means = [digits.train_images[digits.train_labels == label].float().mean(0).numpy() for label in range(10)]
        images += [np.rint(np.nan_to_num(mean)).astype(np.uint8) for mean in means]
        packed = base64.b64encode(np.stack(images).tobytes()).decode()
        yield {"mistakes": mistakes, "count": count, "tested": len(digits.test_labels), "images": packed}


def use_one_core() -> None:
    """Compute in one thread: an image is too little work to share, above all where training has the cores."""
    torch.set_num_threads(1)


def checkpoints(run: Run) -> list[dict[str, Any]]:
    """The name and the step of each whole checkpoint that the run has kept, the last step first; a step once."""
    found: dict[int, str] = {}
    files = sorted((run.directory / "checkpoints").glob("*.ckpt"), key=lambda path: (path.stem != "last", path))
    for path in files:
        try:
            found.setdefault(verify_checkpoint(path).step, path.stem)
        except DamagedCheckpoint:
            continue
    return [{"name": name, "step": step} for step, name in sorted(found.items(), reverse=True)]


_known: dict[tuple[str, str], Familiar] = {}


def _familiar(run: Run) -> Familiar:
    """The same for runs of the same data: it takes a second to make."""
    key = run.data, str(run.config.data.get("root"))
    if key not in _known:
        _known[key] = familiar(run)
    return _known[key]
