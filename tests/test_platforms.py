"""macOS and Windows, as far as Linux can play them: what only Linux has is taken away, and a run must do without."""

import ast
import errno
import os
import subprocess
from pathlib import Path

import pytest
import started
from conftest import ROOT, command, environment

from mnist_lab.errors import short_path
from mnist_lab.runs.atomic import atomic_write
from mnist_lab.runs.result import Result

# Python runs this at the start of every process that finds it: a run's, a launcher's, a view's.
WITHOUT = """
import ctypes, fcntl, os, pathlib, subprocess, sys

for name in ("sched_getaffinity", "nice", "fork", "getpgid", "setpgid", "killpg", "setsid", "getuid", "mkfifo"):
    delattr(os, name)
def only_linux(real, allowed):
    def function(*arguments, **options):
        if not allowed(*arguments, **options):
            raise OSError(f"only Linux can {real.__name__} {arguments}, {options}")
        return real(*arguments, **options)
    return function

refused = set()

def replace(source, target, before=os.replace):
    if str(target) not in refused:  # as where somebody else reads it at this moment
        refused.add(str(target))
        raise PermissionError(13, "Permission denied", str(target))
    before(source, target)

class CDLL(ctypes.CDLL):
    def __init__(self, name, *more, **options):
        if name is None:
            raise TypeError("only Linux lets a program open itself")
        super().__init__(name, *more, **options)

writable = lambda file, F=fcntl.fcntl, get=fcntl.F_GETFL: F(file, get) & os.O_ACCMODE != os.O_RDONLY
os.fsync = only_linux(os.fsync, writable)
os.mkdir = only_linux(os.mkdir, lambda path, *_, **__: not set(':<>"|?*') & set(str(path)))
os.kill = only_linux(os.kill, lambda process, number: number)  # 0 would be a Ctrl-C
pathlib.Path.open = only_linux(pathlib.Path.open, lambda path, *_, **__: not str(path).startswith("/proc"))
os.replace, ctypes.CDLL = replace, CDLL
real_init = subprocess.Popen.__init__

def init(self, *arguments, pass_fds=(), **options):
    assert not pass_fds, "only Linux hands files on"
    real_init(self, *arguments, **options)

subprocess.Popen.__init__ = init
for name in ("fcntl", "resource", "pwd", "grp", "termios", "tty"):
    sys.modules[name] = None
"""
RUN = ["model=softmax", "data=fake", "trainer=debug"]


def run_without(folder: Path, *arguments: str) -> tuple[int, str]:
    """The exit code and the output of ``python train.py *arguments`` in ``folder`` without what only Linux has."""
    (folder / "sitecustomize.py").write_text(WITHOUT)
    script = folder / "start.py"
    script.write_text(
        "import runpy, sys\n"
        f"runpy.run_path({str(folder / 'sitecustomize.py')!r})\n"
        f"runpy.run_path({str(ROOT / 'train.py')!r}, run_name='__main__')\n"
    )
    said = folder / "said"
    said.mkdir()
    code = started.run(script, list(arguments), folder, environment(PYTHONPATH=str(folder)), said, None)
    return code, (said / "out").read_text() + (said / "err").read_text()


SWEEP = ["--multirun", *RUN, "seed=0,1", "hydra.sweep.dir=."]
SEARCH = ["--multirun", *RUN, "optim.lr=interval(0.01, 0.1)", "hydra/sweeper=optuna", "hydra.sweeper.trials=2"]
PAGE = ["view=web", "view.browser=false", "view.stay=1", "view.port=18960"]


@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        pytest.param(SWEEP, 2, id="a sweep"),
        pytest.param([*SEARCH, "test=true", "hydra.sweep.dir=."], 2, id="a search", marks=pytest.mark.slow),
        pytest.param([*RUN, "view=file", "hydra.run.dir=run"], 1, id="a run", marks=pytest.mark.slow),
        pytest.param(["--multirun", *RUN, *PAGE, "hydra.sweep.dir=."], 1, id="a page", marks=pytest.mark.slow),
        pytest.param([*SWEEP, "hydra/launcher=joblib"], 2, id="side by side", marks=pytest.mark.slow),
    ],
)
def test_it_trains_tests_and_sweeps_without_what_only_linux_has(
    arguments: list[str], count: int, tmp_path: Path
) -> None:
    code, said = run_without(tmp_path, *arguments)
    assert code == 0, said
    assert "Traceback" not in said
    assert "error:" not in said
    assert "ended with an error" not in said
    runs = [Result.read(path.parent) for path in tmp_path.glob("*/result.json")]
    assert len(runs) == count
    for result in runs:
        assert (result.status, result.steps) == ("done", 20)
        assert result.test_accuracy is not None


def test_a_file_that_somebody_reads_is_replaced_as_soon_as_it_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace, refusals = os.replace, [2]

    def as_on_windows(source: Path, target: Path) -> None:
        if refusals[0]:
            refusals[0] -= 1
            raise PermissionError(errno.EACCES, "Permission denied", str(target))
        replace(source, target)

    monkeypatch.setattr(os, "replace", as_on_windows)
    with atomic_write(tmp_path / "result.json") as partial:
        partial.write_text("new")
    assert (tmp_path / "result.json").read_text() == "new"
    refusals[0] = 99
    with pytest.raises(OSError, match=r"result\.json"), atomic_write(tmp_path / "result.json") as partial:
        partial.write_text("newer")
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


def test_a_path_is_shown_from_here_where_it_lies_below(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert short_path(tmp_path / "outputs" / "run") == "outputs/run"
    assert short_path(tmp_path.parent) == tmp_path.parent.as_posix()  # which may be on another drive of Windows


def test_text_files_name_their_encoding() -> None:
    """Without one Windows takes its own, which has no ±."""
    silent = []
    for path in [*(ROOT / "src").rglob("*.py"), *(ROOT / "tools").glob("*.py"), ROOT / "train.py"]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(func=ast.Attribute(attr="read_text" | "write_text")):
                    pass
                case ast.Call(func=ast.Attribute(value=ast.Name(id="os" | "Image" | "webbrowser"))):
                    continue
                case ast.Call(func=ast.Attribute(attr="open") | ast.Name(id="open")):
                    if any(isinstance(a, ast.Constant) and "b" in str(a.value) for a in node.args):
                        continue
                case _:
                    continue
            if not any(keyword.arg == "encoding" for keyword in node.keywords):
                silent.append(f"{path}:{node.lineno}")
    assert silent == []


@pytest.mark.slow
def test_every_warning_may_be_an_error_where_slurm_is_installed(tmp_path: Path) -> None:
    srun = tmp_path / "bin" / "srun"
    srun.parent.mkdir()
    srun.write_text("#!/bin/sh\n")
    srun.chmod(0o755)
    path = f"{srun.parent}{os.pathsep}{os.environ['PATH']}"
    for warnings in ("error", "default"):
        run = [*command(*RUN, "view=file", f"hydra.run.dir={tmp_path / warnings}")]
        env = environment(PYTHONWARNINGS=warnings, PATH=path)
        ended = subprocess.run(run, env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (ended.returncode, ended.stderr) == (0, "") if warnings == "error" else "srun" not in ended.stderr
        assert Result.read(tmp_path / warnings).status == "done"
