"""Everything behaves as without the trick. Each case is a program of its own, run with it and without it."""

import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import ROOT, environment

DEFER = "from mnist_lab.speed.deferred_imports import defer_imports\ndefer_imports()\n"


def output(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, env=environment()
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_run_imports_neither_the_compiler_nor_what_draws(tmp_path: Path) -> None:
    given = ["model=convnet", "data=fake", "trainer=debug", "logger=tensorboard", f"hydra.run.dir={tmp_path / 'run'}"]
    run = subprocess.run(
        [sys.executable, "-X", "importtime", ROOT / "train.py", *given],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    imported = {line.rpartition("|")[2].strip() for line in run.stderr.splitlines() if line.startswith("import time:")}
    assert "pytorch_lightning" in imported
    heavy = {"torch._dynamo.utils", "torch._inductor", "sympy", "torchvision", "matplotlib", "torchmetrics.functional"}
    assert not imported & heavy


# What is printed must be the same with the trick and without. The compiler counts the frames that it compiles.
COUNT = """
import torch, torch._dynamo.testing
counter = torch._dynamo.testing.CompileCounter()
def compiled(what):
    return torch.compile(what, backend=counter)
def count():
    return counter.frame_count, counter.op_count
"""
TRAIN = """
first = torch.nn.Linear(2, 1)
optimizer = torch.optim.Adam(first.parameters(), lr=0.1)
first(torch.ones(1, 2)).sum().backward()
optimizer.step()
optimizer.zero_grad()
"""
CASES = {
    "a module": """
        torch.manual_seed(0)
        layer = torch.nn.Linear(2, 1)
        fast = compiled(layer)
        print(torch.equal(fast(torch.ones(3, 2)), layer(torch.ones(3, 2))), count())
        from lightning_fabric.wrappers import OptimizedModule, _unwrap_compiled
        print(isinstance(fast, OptimizedModule), isinstance(layer, OptimizedModule), _unwrap_compiled(fast)[0] is layer)
        print(type(fast).__module__, OptimizedModule is torch._dynamo.OptimizedModule)
    """,
    "a function": """
        fast = compiled(lambda x: torch.sin(x) + torch.cos(x))
        print(fast(torch.ones(3)).tolist(), count())
    """,
    "a function that calls what is disabled": """
        @torch.compiler.disable
        def hidden(x):
            return x + torch.compiler.is_compiling()
        def outer(x):
            return hidden(torch.sin(x)) * 2
        print(compiled(outer)(torch.ones(3)).tolist(), count())
    """,
    "an optimizer's step": """
        torch.manual_seed(0)
        layer = torch.nn.Linear(2, 1)
        optimizer = torch.optim.Adam(layer.parameters(), lr=0.1)
        def step():
            optimizer.zero_grad()
            layer(torch.ones(3, 2)).sum().backward()
            optimizer.step()
        step()
        print(layer.weight.tolist())
        fast = compiled(optimizer.step)
        for _ in range(2):
            layer(torch.ones(3, 2)).sum().backward()
            fast()
        print(layer.weight.tolist(), count())
        torch.compile(step, backend=counter)()
        print(layer.weight.tolist(), count())
    """,
    "a Lightning module that is fitted": """
        import warnings
        warnings.simplefilter("ignore")
        import logging
        logging.disable(logging.CRITICAL)
        class Module(pl.LightningModule):
            def __init__(self):
                super().__init__()
                self.layer = torch.nn.Linear(2, 1)
            def training_step(self, batch, batch_idx):
                loss = self.layer(batch).sum()
                self.log("loss", loss)
                return loss
            def configure_optimizers(self):
                return torch.optim.SGD(self.parameters(), 0.1)
        torch.manual_seed(0)
        module = Module()
        quiet = dict(logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)
        trainer = pl.Trainer(max_steps=3, accelerator="cpu", **quiet)
        trainer.fit(compiled(module), torch.utils.data.DataLoader(torch.ones(6, 2), batch_size=2))
        print(module.layer.weight.tolist(), trainer.callback_metrics["loss"].item(), count()[0] > 0)
    """,
}


@pytest.mark.slow
@pytest.mark.parametrize("used", ["before", "after"])
def test_the_compiler_does_what_it_does_without(used: str) -> None:
    """``before``: used before Lightning is imported; ``after``: when torch has been trained with already."""
    lightning = "import torch\nimport pytorch_lightning as pl\n"
    code = (lightning + TRAIN + COUNT) if used == "after" else (COUNT + lightning)
    code += "".join(f"print({name!r})\n{textwrap.dedent(case)}" for name, case in CASES.items())
    with ThreadPoolExecutor(2) as both:
        ours, theirs = both.map(output, (DEFER + code, code))
    assert ours == theirs
    assert all(name in ours for name in CASES)


def test_metrics_and_their_plots_are_whole() -> None:
    pytest.importorskip("matplotlib")
    code = """
        import matplotlib
        matplotlib.use("Agg")
        import torch, torchmetrics
        from torchmetrics import MetricCollection, Metric
        metric = torchmetrics.Accuracy(task="multiclass", num_classes=3)
        metric(torch.tensor([0, 1, 2]), torch.tensor([0, 1, 1]))
        figure, axes = metric.plot()
        print(type(figure).__name__, type(axes).__name__, metric.compute())
        confusion = torchmetrics.ConfusionMatrix(task="multiclass", num_classes=3)
        confusion(torch.tensor([0, 1, 2]), torch.tensor([0, 1, 1]))
        print(type(confusion.plot()[0]).__name__)
        both = MetricCollection({"a": metric, "c": torchmetrics.MeanMetric()})
        print(isinstance(metric, Metric), isinstance(pl.utilities.types.Metric, type), len(both))
        from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity
        from torchmetrics.detection import IntersectionOverUnion
        boxes = dict(boxes=torch.tensor([[0.0, 0, 2, 2]]), labels=torch.tensor([0]))
        print(IntersectionOverUnion()([boxes | {"scores": torch.tensor([1.0])}], [boxes]))
        print(sorted(name for name in dir(torchmetrics) if name[0] != "_"))
        print(torchmetrics.__version__, torchmetrics.utilities.plot._MATPLOTLIB_AVAILABLE)
    """
    # Metric is one of the classes that Lightning imports early: its plot finds matplotlib none the less.
    own = """
        import matplotlib, torch, pytorch_lightning as pl
        matplotlib.use("Agg")
        from torchmetrics import Metric
        class Count(Metric):
            def __init__(self):
                super().__init__()
                self.add_state("n", torch.tensor(0))
            def update(self, x):
                self.n += len(x)
            def compute(self):
                return self.n
            def plot(self, *given):
                return self._plot(*given)
        count = Count()
        count(torch.ones(3))
        print(count.compute(), type(count.plot()[0]).__name__)
    """
    code = textwrap.dedent(own) + textwrap.dedent(code)
    assert output(DEFER + code) == output(code) != ""


def test_parts_are_imported_once_and_after_the_whole() -> None:
    code = """
        import torch, torch._dynamo.utils as first
        from torch._dynamo import utils as second
        import torchmetrics.functional.classification as third
        assert first is second is sys.modules["torch._dynamo.utils"] is torch._dynamo.utils
        assert torch._dynamo.convert_frame.__spec__.name == "torch._dynamo.convert_frame"
        assert third is sys.modules["torchmetrics"].functional.classification
        import torchmetrics, pytorch_lightning
        assert pytorch_lightning.core.module.Metric is torchmetrics.Metric is torchmetrics.metric.Metric
        print(torch._dynamo.OptimizedModule.__module__)
    """
    assert output("import sys\n" + DEFER + textwrap.dedent(code)) == "torch._dynamo.eval_frame\n"


def test_it_stands_aside_where_the_packages_are_imported_already() -> None:
    code = """
        import logging, sys, types
        sys.modules |= {name: types.ModuleType(name) for name in ("torch._dynamo", "torchmetrics")}
        logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
    """
    said = output(textwrap.dedent(code) + DEFER + "print(type(sys.modules['torch._dynamo']).__name__)")
    assert said == "speed.deferred_imports stands aside: torch._dynamo and torchmetrics imported already\nmodule\n"
