"""What speed.py compares train.py with, each in a process of its own: plain PyTorch loops, loaders and a plain script.

``python plain.py FUNCTION ARGUMENTS...`` calls a function of this file and prints its result as JSON.
"""

import functools
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "src"))
STRETCH = 50  # steps that are timed together; the figure is the median over stretches


def network(overrides: list[str]) -> Any:
    """The network, the optimiser's class and the batch size that the config with ``overrides`` describes."""
    import torch
    from hydra import compose, initialize_config_dir

    from mnist_lab.build import classifier
    from mnist_lab.runs.directory import register_resolvers

    register_resolvers()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("config", overrides=overrides)
    kind = {"SGD": torch.optim.SGD, "Adam": torch.optim.Adam}[cfg.optim._target_.rpartition(".")[2]]
    return classifier(cfg).network, kind, cfg.data.batch_size


def keep_memory() -> None:
    from mnist_lab.speed.kept_memory import keep_freed_memory

    keep_freed_memory()


def step(side: str, steps: str, *overrides: str) -> float:
    """Milliseconds per step of a plain loop: ``usual``, or ``best`` with channels-last order and a fused optimiser."""
    import torch
    import torch.nn.functional as F

    net, kind, batch = network(list(overrides))
    best = side == "best"
    net = net.to(memory_format=torch.channels_last if best else torch.contiguous_format).train()
    optimizer = kind(net.parameters(), lr=1e-3, fused=best)
    images = torch.randint(0, 256, (60_000, 1, 28, 28), dtype=torch.uint8)
    labels = torch.randint(0, 10, (60_000,))
    stretches, done, began = [], 0, time.perf_counter()
    while done < int(steps):
        for chosen in torch.randperm(60_000).split(batch):
            if done % STRETCH == 0:
                now = time.perf_counter()
                stretches.append(now - began)
                began = now
            optimizer.zero_grad()
            loss = F.cross_entropy(net(images[chosen].float() / 255), labels[chosen])
            loss.backward()
            optimizer.step()
            done += 1
            if done == int(steps):
                break
    return 1000 * median(stretches[2:]) / STRETCH  # the first is empty, the second is warm-up


def in_turn(sides: dict[str, Callable[[], object]], times: int, rounds: int = 7) -> dict[str, float]:
    """Milliseconds per call of each side, the lowest over the rounds."""
    best: dict[str, float] = {}
    for _ in range(rounds):
        for name, call in sides.items():
            call()
            began = time.perf_counter()
            for _ in range(times):
                call()
            best[name] = min(best.get(name, 1e9), 1000 * (time.perf_counter() - began) / times)
    return best


def gather() -> dict[str, float]:
    """Milliseconds to take a thousand images out of 60,000 by [] and by index_select."""
    import torch

    keep_memory()
    images, order = torch.randint(0, 256, (60_000, 28, 28), dtype=torch.uint8), torch.randperm(60_000)[:1000]
    return in_turn({"without": lambda: images[order], "with": lambda: images.index_select(0, order)}, 100)


def loader(images: str, batch: str) -> dict[str, float]:
    """Millions of images per second through Batches, and the megabytes of the data and of the whole process."""
    import resource

    import torch

    from mnist_lab.data import Batches

    keep_memory()
    number = int(images)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    data = torch.empty((number, 28, 28), dtype=torch.uint8)
    for part in data.split(60_000):
        part.random_(0, 256)
    labels = torch.zeros(number, dtype=torch.int64)
    batches, speeds = iter(Batches(data, labels, int(batch), seed=0)), []
    for _ in range(7):
        began = time.perf_counter()
        for _ in range(min(number, 240_000) // int(batch)):
            next(batches)
        speeds.append(min(number, 240_000) / (time.perf_counter() - began) / 1e6)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"speed": median(speeds[1:]), "MB": (after - before) / 1024, "data": data.nbytes / 2**20}


def torchvision_loader(workers: str) -> float:
    """Millions of images per second as usually written: torchvision's MNIST, ToTensor, DataLoader; over one epoch."""
    import tempfile

    import numpy as np
    import torch
    from torch.utils.data import DataLoader
    from torchvision import datasets, transforms

    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder, "MNIST", "raw")
        raw.mkdir(parents=True)
        for name, shape in (("images-idx3", (60_000, 28, 28)), ("labels-idx1", (60_000,))):
            header = np.array([0x0800 + len(shape), *shape], ">u4").tobytes()
            body = np.random.default_rng(0).integers(0, 10, shape, np.uint8).tobytes()
            for part in ("train", "t10k"):
                (raw / f"{part}-{name}-ubyte").write_bytes(header + body)
        digits = datasets.MNIST(folder, train=True, transform=transforms.ToTensor())
    torch.manual_seed(0)
    batches = DataLoader(digits, batch_size=100, shuffle=True, num_workers=int(workers))
    began = time.perf_counter()
    for _ in batches:
        pass
    return 60_000 / (time.perf_counter() - began) / 1e6


def evaluation(*overrides: str) -> dict[str, float]:
    """Milliseconds to evaluate 10,000 images: by a loop over batches of 1,000 as usually written, and by ours."""
    import torch
    import torch.nn.functional as F

    from mnist_lab.classifier import DigitClassifier
    from mnist_lab.data import Batches

    keep_memory()
    net, kind, _ = network(list(overrides))
    images = torch.randint(0, 256, (10_000, 28, 28), dtype=torch.uint8)
    labels = torch.randint(0, 10, (10_000,))
    usual = net.to(memory_format=torch.contiguous_format)
    ours = DigitClassifier(network(list(overrides))[0], functools.partial(kind, lr=0.1), None).eval()  # type: ignore
    usual.eval()

    @torch.no_grad()
    def by_hand() -> tuple[float, int]:
        loss, correct = 0.0, 0
        for x, y in zip(images.split(1000), labels.split(1000), strict=True):
            logits = usual(x.unsqueeze(1).float() / 255)
            loss += F.cross_entropy(logits, y, reduction="sum").item()
            correct += (logits.argmax(1) == y).sum().item()
        return loss, correct

    def by_us() -> list[float]:
        total: Any = sum(ours.evaluate(batch) for batch in Batches(images, labels, 1000))
        return total.tolist()

    return in_turn({"usual": by_hand, "ours": by_us}, 1, rounds=4)


def script(root: str, steps: str) -> None:
    """Softmax regression as a plain script: torchvision's data, a training loop, the test."""
    import torch
    import torch.nn.functional as F
    from torch.utils.data import DataLoader
    from torchvision import datasets, transforms

    train = datasets.MNIST(root, train=True, transform=transforms.ToTensor())
    test = datasets.MNIST(root, train=False, transform=transforms.ToTensor())
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
    done = 0
    while done < int(steps):
        for x, y in DataLoader(train, batch_size=100, shuffle=True):
            optimizer.zero_grad()
            F.cross_entropy(net(x), y).backward()
            optimizer.step()
            done += 1
            if done == int(steps):
                break
    if int(steps) > 1:
        with torch.no_grad():
            correct = sum((net(x).argmax(1) == y).sum().item() for x, y in DataLoader(test, batch_size=1000))
        assert correct > 8500


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])))
