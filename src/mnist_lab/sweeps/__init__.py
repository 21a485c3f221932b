"""Many runs from one command: launchers, sweepers, the search with Optuna, and the report over all runs."""

from mnist_lab.errors import UserError


def at_least_one(key: str, value: int) -> int:
    """``value``, that of the option ``key``. Raises UserError where it is below 1."""
    if value < 1:
        raise UserError(f"{key}={value}: must be at least 1")
    return value
