"""The classes through which Hydra finds this project's launchers and sweepers, and what it does under Slurm.

Hydra imports this file at every start, and accepts as plugins only classes that are defined here. So these give, in
their own place, the class of ``mnist_lab.sweeps`` that ``conf/`` names as ``plugin``, and import it only then.
"""

import os
from typing import Any

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.experimental.callback import Callback
from hydra.utils import instantiate


class LazyLauncher(BasicLauncher):
    """Stands for the launcher that ``plugin`` names."""

    def __new__(cls, plugin: str, **options: Any) -> Any:  # noqa: D102
        return instantiate({"_target_": plugin}, **options)


class LazySweeper(BasicSweeper):
    """Stands for the sweeper that ``plugin`` names."""

    def __new__(cls, plugin: str, **options: Any) -> Any:  # noqa: D102
        return instantiate({"_target_": plugin}, **options)


class LazyCallback(Callback):
    """Stands for the callback that ``plugin`` names, where the environment has ``variable``."""

    def __new__(cls, plugin: str, variable: str) -> Any:  # noqa: D102
        return instantiate({"_target_": plugin}) if variable in os.environ else Callback()
