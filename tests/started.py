"""Real runs of train.py, each a process of its own, forked from a server that has imported the heavy libraries once.

None of our own code is in the server, so a run imports it anew. A test of what a start itself does starts afresh.
"""

import atexit
import multiprocessing
import os
import resource
import runpy
import sys
import threading
from pathlib import Path

LIBRARIES = ["hydra", "torch", "torchvision", "pytorch_lightning", "tensorboard.summary", "torch.utils.tensorboard"]
_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(LIBRARIES)


def run(script: Path, arguments: list[str], cwd: Path, env: dict[str, str], files: Path, limit: int | None) -> int:
    """The exit code, of ``python script *arguments`` with ``limit`` bytes of memory; what it says lies in ``files``."""
    process = _server.Process(target=_become, args=(script, arguments, cwd, env, files, limit))
    process.start()
    process.join(240)
    if process.exitcode is None:
        process.kill()
        raise TimeoutError(f"{script.name} {' '.join(arguments)}")
    return process.exitcode


def _become(script: Path, arguments: list[str], cwd: Path, env: dict[str, str], files: Path, limit: int | None) -> None:
    for number, name in enumerate(("in", "out", "err")):
        opened = os.open(os.devnull if name == "in" else files / name, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        os.dup2(opened, number)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    if "LOCAL_RANK" in env:  # Lightning has asked for it in the server, when it was imported
        from pytorch_lightning.utilities import rank_zero_only

        rank_zero_only.rank = int(env["LOCAL_RANK"])  # type: ignore[attr-defined]
    if limit:
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w", buffering=1)  # noqa: SIM115
    sys.argv = [str(script), *arguments]
    sys.path[:0] = [str(script.parent), *filter(None, env.get("PYTHONPATH", "").split(os.pathsep))]
    try:
        runpy.run_path(str(script), run_name="__main__")
    finally:
        threading._shutdown()  # type: ignore[attr-defined]  # these two a forked process leaves out
        atexit._run_exitfuncs()
