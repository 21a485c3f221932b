import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from conftest import ROOT, environment

QUICKLY = "import sys\nfrom mnist_lab import start\nstart.quickly()\n"


def python(code: str) -> str:
    """What a program says that has started quickly."""
    given = [sys.executable, "-c", QUICKLY + textwrap.dedent(code)]
    return subprocess.run(given, check=True, capture_output=True, text=True).stdout.strip()


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
    heavy = {"torch._dynamo.utils", "torch._inductor", "sympy", "torchvision", "matplotlib"}
    assert not imported & heavy


def test_the_compiler_comes_whole_when_it_is_used() -> None:
    said = python("""
        import torch
        from lightning_fabric.wrappers import OptimizedModule  # Lightning has taken it long before
        layer = torch.nn.Linear(2, 1)
        torch.optim.SGD(layer.parameters()).step()
        assert not isinstance(layer, OptimizedModule)
        assert "torch._dynamo.utils" not in sys.modules
        compiled = torch.compile(layer, backend="eager")
        torch.testing.assert_close(compiled(torch.ones(3, 2)), layer(torch.ones(3, 2)))
        assert isinstance(compiled, OptimizedModule)
        assert not isinstance(layer, OptimizedModule)
        assert torch._dynamo.config is sys.modules["torch._dynamo.config"]
        print("compiled")
    """)
    assert said == "compiled"


@pytest.mark.slow
def test_a_part_of_the_compiler_is_imported_once_and_after_the_whole() -> None:
    said = python("""
        import torchvision.models  # which imports torch._dynamo.utils
        import torch, torch._dynamo.utils as first
        from torch._dynamo import utils as second
        assert first is second is sys.modules["torch._dynamo.utils"] is torch._dynamo.utils
        assert torch._dynamo.convert_frame.__spec__.name == "torch._dynamo.convert_frame"
        print(torch._dynamo.OptimizedModule.__module__)
    """)
    assert said == "torch._dynamo.eval_frame"
