"""What Lightning imports and a run does not use is imported when somebody uses it.

Lightning imports torch's compiler (``torch._dynamo``) to ask whether a module is compiled, and all of torchmetrics,
torchvision and matplotlib with it, for two classes. Stand-ins answer until somebody uses more; then they become the
real packages, in place. Figure: Lightning's import takes 2.3 s instead of 4.4 s. Risk: the stand-ins know what
Lightning 2.6 and torch 2.11 to 2.15 ask for; anything else imports the real package. Only ``train.py`` does it, to its
own process; it stands aside where the packages are imported already.
"""

import functools
import importlib
import importlib.metadata
import logging
import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import FunctionType, ModuleType
from typing import Any

from mnist_lab.speed import stand_aside

_COMPILER, _METRICS, _PLOT = "torch._dynamo", "torchmetrics", "torchmetrics.utilities.plot"
# Parts of torchmetrics that its class Metric is made of: they may be imported before the whole.
_EARLY_PARTS = (f"{_METRICS}.metric", f"{_METRICS}.collections", f"{_METRICS}.utilities", f"{_METRICS}.__about__")


def defer_imports() -> None:
    """From now on, put stand-ins in the place of the packages that are not imported yet."""
    if any(isinstance(finder, _Finder) for finder in sys.meta_path):
        return  # an earlier job of this process did it
    if there := [name for name in (_COMPILER, _METRICS) if name in sys.modules]:
        stand_aside("deferred_imports", f"{' and '.join(there)} imported already")
    sys.meta_path.insert(0, _Finder())


class _StandIn(ModuleType):
    """A module that is imported, whole and in place, when anything but its ``_early`` names is used."""

    def __getattr__(self, name: str) -> Any:
        early = _EARLY[self.__name__]
        if name in early:
            return early[name]()
        if name.startswith("__") and name != "__all__":
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        _load(self)
        return getattr(self, name)


def _load(module: ModuleType) -> None:
    """Make a stand-in the real module."""
    if not isinstance(module, _StandIn):
        return
    parent = sys.modules.get(module.__name__.rpartition(".")[0])
    module.__class__ = ModuleType  # type: ignore[assignment]
    spec = PathFinder.find_spec(module.__name__, getattr(parent, "__path__", None))
    assert spec
    assert spec.loader
    module.__spec__, module.__loader__, module.__file__ = spec, spec.loader, spec.origin
    if module.__name__ == _METRICS and _PLOT in sys.modules:
        _load(sys.modules[_PLOT])
    spec.loader.exec_module(module)
    if module.__name__ == _COMPILER:
        for user in list(sys.modules.values()):  # Lightning has taken the stand-in of this class
            if getattr(user, "__dict__", {}).get("OptimizedModule") is _OptimizedModule:
                user.OptimizedModule = module.OptimizedModule  # type: ignore[attr-defined]


class _Finder(MetaPathFinder, Loader):
    """Finds the stand-ins, and has the whole of a package imported before any of its parts but the early ones."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name in _EARLY and (found := PathFinder.find_spec(name, path)):
            spec = ModuleSpec(name, self)
            spec.submodule_search_locations = found.submodule_search_locations
            return spec
        package = next((p for p in (_COMPILER, _METRICS) if name.startswith(p + ".")), None)
        if package and not any(name == part or name.startswith(part + ".") for part in _EARLY_PARTS):
            _load(sys.modules[package])
            if part := sys.modules.get(name):  # the whole has imported it; its own spec would import it again
                spec = ModuleSpec(name, self, loader_state=part.__spec__)
                part.__spec__ = None
                return spec
        return None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return sys.modules.get(spec.name) or _StandIn(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ and (own := module.__spec__.loader_state):  # the module was there, and keeps its own spec
            module.__spec__, module.__loader__ = own, own.loader


class _CompiledModules(type):
    """``isinstance`` for compiled modules, of which there are none before the compiler is there."""

    def __instancecheck__(cls, instance: object) -> bool:
        compiler = sys.modules[_COMPILER]
        return not isinstance(compiler, _StandIn) and isinstance(instance, compiler.OptimizedModule)


class _OptimizedModule(metaclass=_CompiledModules):
    """Stands in for the class of modules that torch.compile makes."""


def _disable(function: Any = None, recursive: bool = True, **options: Any) -> Any:
    """``torch._dynamo.disable``: the function as it is until the compiler is there, then what that makes of it."""
    compiler, disabled = sys.modules[_COMPILER], None
    if not isinstance(function, FunctionType):
        _load(compiler)
        return compiler.disable(function, recursive, **options)

    @functools.wraps(function)
    def deferred(*arguments: Any, **named: Any) -> Any:
        nonlocal disabled
        if isinstance(compiler, _StandIn):
            return function(*arguments, **named)
        disabled = disabled or compiler.disable(function, recursive, **options)
        return disabled(*arguments, **named)

    deferred._torchdynamo_disable = True  # type: ignore[attr-defined]  # by which the compiler knows not to trace it
    return deferred


def _metric_class(module: str, name: str) -> Any:
    importlib.import_module(f"{_METRICS}.utilities")  # first, as the parts import each other
    return getattr(importlib.import_module(f"{_METRICS}.{module}"), name)


def _plot(*arguments: Any, **options: Any) -> Any:
    _load(sys.modules[_PLOT])
    return sys.modules[_PLOT].plot_single_or_multi_val(*arguments, **options)


# What stand-ins answer without becoming the real module.
_EARLY: dict[str, dict[str, Callable[[], Any]]] = {
    _COMPILER: {
        "OptimizedModule": lambda: _OptimizedModule,
        "graph_break": lambda: lambda *_, **__: None,
        "disable": lambda: _disable,
    },
    _METRICS: {
        "Metric": lambda: _metric_class("metric", "Metric"),
        "MetricCollection": lambda: _metric_class("collections", "MetricCollection"),
        "_logger": lambda: logging.getLogger(_METRICS),
        "__version__": lambda: importlib.metadata.version(_METRICS),
    },
    _PLOT: {"_AX_TYPE": lambda: object, "_PLOT_OUT_TYPE": lambda: object, "plot_single_or_multi_val": lambda: _plot},
}
