"""A real Slurm on this machine, for tests: two nodes of two cores; the partition ``high`` preempts ``low``.

It needs root, and Debian's packages slurm-wlm and munge.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

CONFIG = """
ClusterName=lab
SlurmctldHost=localhost
SlurmctldPort={port}
SlurmUser=root
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=sched_interval=1,bf_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=10
MinJobAge=36000
MaxArraySize={max_array}
ReturnToService=0
MpiDefault=none
PropagateResourceLimits=NONE
NodeName=n1 NodeHostname=localhost NodeAddr=127.0.0.1 Port={port1} CPUs=2 RealMemory=4000
NodeName=n2 NodeHostname=localhost NodeAddr=127.0.0.1 Port={port2} CPUs=2 RealMemory=4000
PartitionName=low Nodes=n1,n2 Default=YES PriorityTier=1 MaxTime=120
PartitionName=high Nodes=n1,n2 PriorityTier=10 PreemptMode=OFF
"""


def missing() -> str | None:
    """Why there can be no cluster here; None where there can."""
    absent = [name for name in ("munged", "slurmctld", "slurmd", "sbatch") if not shutil.which(name)]
    if absent:
        return f"a real Slurm: needs {', '.join(absent)} (Debian: slurm-wlm, munge)"
    return None if os.geteuid() == 0 else "a real Slurm: needs root"


@contextlib.contextmanager
def cluster(folder: Path, max_array: int = 1001) -> Iterator[dict[str, str]]:
    """Start the daemons with all their files in ``folder``; the environment to use it in. Stops them at the end."""
    folder.chmod(0o755)
    (folder / "state").mkdir()
    key, config = folder / "munge.key", folder / "slurm.conf"
    key.touch(mode=0o600)
    key.write_bytes(os.urandom(128))
    with contextlib.ExitStack() as free:  # ports that are
        sockets = [free.enter_context(socket.socket()) for _ in range(3)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        port, port1, port2 = (one.getsockname()[1] for one in sockets)
    text = CONFIG.format(folder=folder, port=port, port1=port1, port2=port2, max_array=max_array)
    config.write_text(text, encoding="utf-8")
    (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n", encoding="utf-8")
    env = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    env |= {"SLURM_CONF": str(config)}
    files = {"socket": "munge.socket", "key-file": "munge.key", "pid-file": "munge.pid", "log-file": "munge.log"}
    munge = ["munged", "--force", *(f"--{option}={folder / name}" for option, name in files.items())]
    try:
        for daemon in ([*munge, f"--seed-file={folder / 'munge.seed'}"], ["slurmctld", "-c"], *nodes("n1", "n2")):
            subprocess.run(daemon, env=env, check=True)
        wait_for(lambda: said(env, "sinfo", "-h", "-o", "%T", check=False) == "idle", "the nodes", 20)
        yield env
    finally:
        with contextlib.suppress(subprocess.SubprocessError):
            said(env, "scancel", "--user=root")
            wait_for(lambda: not said(env, "squeue", "-h"), "the end of the jobs")
        for path in folder.glob("*.pid"):
            with contextlib.suppress(ProcessLookupError, ValueError):
                os.kill(int(path.read_text()), signal.SIGTERM)
        wait_for(lambda: not list(folder.glob("*.pid")), "the end of the daemons", 20)


def nodes(*names: str) -> list[list[str]]:
    """The commands that start nodes."""
    return [["slurmd", "-N", name] for name in names]


def said(env: dict[str, str], *words: str, check: bool = True) -> str:
    """What a command of Slurm prints."""
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=check, timeout=60)
    return done.stdout.strip()


def wait_for(condition: Callable[[], object], what: str, seconds: float = 180) -> None:
    """Wait until ``condition`` holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.1)


def states(env: dict[str, str]) -> dict[str, str]:
    """The states of all jobs that Slurm remembers, by id: 12, or 12_3 in an array."""
    lines = said(env, "squeue", "--array", "--states=all", "-h", "-o", "%i %T").splitlines()
    return dict(line.split() for line in lines)


def hurry(env: dict[str, str], job: str) -> None:
    """Start ``job``, which was requeued, without the two minutes that it would wait otherwise."""
    wait_for(lambda: states(env).get(job) == "PENDING", f"job {job} to be queued again")
    said(env, "scontrol", "update", f"jobid={job}", "StartTime=now")
