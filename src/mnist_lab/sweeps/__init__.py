"""Many runs from one command: launchers, sweepers, the search with Optuna, and the report over all runs."""

import shlex
import sys
from pathlib import Path
from typing import Any

from mnist_lab.errors import UserError, short_path


def at_least(key: str, value: Any, least: float = 1) -> Any:
    """``value``, that of the option ``key``. Raises UserError unless it is a number from ``least`` on, as whole."""
    kinds = int if isinstance(least, int) else int | float
    if isinstance(value, bool) or not isinstance(value, kinds) or value < least:
        raise UserError(f"{key}={value}: must be at least {least}{', a whole number' if kinds is int else ''}")
    return value


def command_again(folder: str | Path) -> str:
    """The command of the sweep in ``folder``, to go on with it."""
    words = [word for word in sys.argv[1:] if not word.startswith("sweep.resume=")]
    return shlex.join(["python", short_path(Path(sys.argv[0])), *words, f"sweep.resume={folder}"])
