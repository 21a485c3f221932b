"""The process itself: its cores, its part among those that train together, and the process that started it."""

import os
import threading
import time
from collections.abc import Callable


def usable_cores() -> int:
    """How many cores this process may use, which can be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def is_rank_zero() -> bool:
    """Whether this process is the one, of those that train together, which keeps the records."""
    from pytorch_lightning.utilities import rank_zero_only  # here, because launchers are imported at every start

    rank: int = rank_zero_only.rank  # type: ignore[attr-defined]
    return rank == 0


def when_orphaned(parent: int, do: Callable[[], None]) -> None:
    """Call ``do``, in a thread, when the process ``parent``, which started this one, has ended."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        do()

    threading.Thread(target=watch, daemon=True).start()
