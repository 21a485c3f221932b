"""One training step inside train.py against a plain loop of the same network: ``python benchmarks/steps.py [models]``

Three sides in turn, each a process of its own: a plain PyTorch loop as it is usually written; the same with
channels-last order and fused updates; train.py, with its logging and progress. Milliseconds a step: the median over
stretches of 50 steps, evaluation left out.
"""

import argparse
import csv
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[1]
# The network's recipe: optimiser, batch size, steps to measure.
RECIPES = {
    "softmax": ("sgd", 100, 20_000),
    "mlp_relu": ("adam", 100, 6000),
    "strided_convnet": ("adam", 100, 1000),
    "convnet": ("adam", 50, 400),
}
SIDES = ("usual", "best", "train.py")
STRETCH = 50


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=list(RECIPES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--plain", nargs=2, metavar=("MODEL", "SIDE"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.plain:
        print(plain(*given.plain))
        return
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    print(f"{time.strftime('%Y-%m-%d')}, {machine}; ms a step, median of {given.rounds} rounds")
    print(f"{'model':<18}{'usual':>10}{'best':>10}{'train.py':>10}   train.py / best, each round")
    for model in given.models:
        rounds = [{side: step_ms(model, side) for side in SIDES} for _ in range(given.rounds)]
        columns = "".join(f"{median(r[side] for r in rounds):>10.3f}" for side in SIDES)
        ratios = [r["train.py"] / r["best"] for r in rounds]
        print(f"{model:<18}{columns}   {median(ratios):.2f} ({', '.join(f'{x:.2f}' for x in ratios)})", flush=True)


def step_ms(model: str, side: str) -> float:
    """Milliseconds a step of one side, in a process of its own."""
    if side != "train.py":
        command = [sys.executable, __file__, "--plain", model, side]
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    optim, batch, steps = RECIPES[model]
    with tempfile.TemporaryDirectory() as folder:
        run = [f"model={model}", f"optim={optim}", f"data.batch_size={batch}", f"trainer.max_steps={steps}"]
        run += ["data=fake", "data.generated=[60000,500]", f"trainer.log_every_n_steps={STRETCH}", "test=false"]
        command = [sys.executable, ROOT / "train.py", f"hydra.run.dir={folder}/run", *run]
        subprocess.run(command, check=True, capture_output=True, cwd=folder)
        with Path(folder, "run", "metrics.csv").open() as file:
            speeds = [float(row["images_per_second"]) for row in csv.DictReader(file) if row.get("images_per_second")]
    return 1000 * batch / median(speeds)


def plain(model: str, side: str) -> float:
    """The same steps in a loop by hand: milliseconds of each, the median over stretches."""
    import torch
    import torch.nn.functional as F
    from hydra import compose, initialize_config_dir

    from mnist_lab import runs
    from mnist_lab.experiment import classifier

    optim, batch, steps = RECIPES[model]
    runs.register()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        built = classifier(compose("config", overrides=[f"model={model}", f"optim={optim}"]))
    best = side == "best"
    network = built.network.to(memory_format=torch.channels_last if best else torch.contiguous_format).train()
    kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[optim]
    optimizer = kind(network.parameters(), lr=1e-3, fused=best)
    images = torch.randint(0, 256, (60_000, 1, 28, 28), dtype=torch.uint8)
    labels = torch.randint(0, 10, (60_000,))
    stretches, done, began = [], 0, time.perf_counter()
    while done < steps:
        for chosen in torch.randperm(60_000).split(batch):
            if done % STRETCH == 0:
                now = time.perf_counter()
                stretches.append(now - began)
                began = now
            optimizer.zero_grad()
            loss = F.cross_entropy(network(images[chosen].float() / 255), labels[chosen])
            loss.backward()
            optimizer.step()
            done += 1
            if done == steps:
                break
    return 1000 * median(stretches[1:]) / STRETCH  # the first is none


if __name__ == "__main__":
    main()
