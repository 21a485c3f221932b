"""A start in half the time: what Lightning imports, and a run does not use, is left until somebody asks for it."""

import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

_COMPILER = "torch._dynamo"


def quickly() -> None:
    """Import pytorch_lightning without torch's compiler, and torchmetrics without its pictures.

    ``torch.compile`` still works: the compiler is imported, whole, when anything of it is used. Of torchmetrics, which
    Lightning imports in full, the metrics that need torchvision and the plots that need matplotlib say that these are
    missing: a run that wants them imports torchmetrics before it calls this.
    """
    if _COMPILER not in sys.modules:
        sys.meta_path.insert(0, _Finder())
    from unittest import mock

    from lightning_utilities.core.imports import RequirementCache

    look = RequirementCache._check_available

    def overlook(self: RequirementCache) -> None:
        if self.requirement in ("torchvision", "matplotlib"):
            self.available, self.message = False, f"{self.requirement} is left out by mnist_lab.start"
        else:
            look(self)

    with mock.patch.object(RequirementCache, "_check_available", overlook):
        import pytorch_lightning  # noqa: F401


class _CompiledModules(type):
    """``isinstance`` for compiled modules, of which there are none before the compiler is there."""

    def __instancecheck__(cls, instance: object) -> bool:
        compiler = sys.modules[_COMPILER]
        return not isinstance(compiler, _Later) and isinstance(instance, compiler.OptimizedModule)


class _Later(ModuleType):
    """The compiler as long as nobody uses it: three names for those who ask whether somebody does."""

    class OptimizedModule(metaclass=_CompiledModules):
        """What torch.compile makes of a module."""

    @staticmethod
    def graph_break(*_: object, **__: object) -> None:
        """Break no graph."""

    @staticmethod
    def disable(function: Callable[..., Any], *_: object, **__: object) -> Callable[..., Any]:
        """Leave a function that is not compiled as it is."""
        return function

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"module {_COMPILER!r} has no attribute {name!r}")
        self.load()
        return getattr(self, name)

    def load(self) -> None:
        """Become the real module, in place."""
        self.__class__ = ModuleType  # type: ignore[assignment]
        spec = PathFinder.find_spec(_COMPILER, sys.modules["torch"].__path__)
        assert spec
        assert spec.loader
        self.__spec__, self.__loader__ = spec, spec.loader
        spec.loader.exec_module(self)


class _Finder(MetaPathFinder, Loader):
    """Finds a _Later for the compiler, and has the whole of it imported before any of its parts."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """What is to be imported by this, if anything."""
        if name == _COMPILER:
            later = ModuleSpec(name, self, is_package=True)
            if found := PathFinder.find_spec(name, path):
                later.submodule_search_locations = found.submodule_search_locations
            return found and later
        if name.startswith(_COMPILER + ".") and isinstance(compiler := sys.modules[_COMPILER], _Later):
            compiler.load()
            if name in sys.modules:  # the whole has imported this part
                return ModuleSpec(name, self)
        return None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The module, which may be there already."""
        return sys.modules.get(spec.name) or _Later(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing yet, or nothing more."""
