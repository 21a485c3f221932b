"""From YAML to objects, checked on the way.

The shape of a group is the signature of what its ``_target_`` names: the constructor's arguments are the keys, their
annotations the types, their checks the ranges. So a class and its YAML file are all that a new option takes.
"""

import dataclasses
import functools
import inspect
import pydoc
import re
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import hydra
from hydra.errors import InstantiationException
from omegaconf import MISSING, DictConfig, OmegaConf, ValidationError
from omegaconf.errors import OmegaConfBaseException

from mnist_lab.errors import UserError, did_you_mean

WATCHING = ("callbacks", "logger", "view")  # groups of what only looks on
GROUPS = ("model", "loss", "optim", "schedule", "data", "trainer", *WATCHING)
_NOT_OF_THE_RUN = (*WATCHING, "resume", "trust", "sweep")


@dataclass
class Sweep:
    """What belongs to a sweep as a whole."""

    resume: str | None = None
    pictures: bool = False


@dataclass
class Root:
    """The root of the config beside its groups."""

    name: str | None = None
    seed: int = MISSING
    deterministic: bool = MISSING
    fit: bool = MISSING
    test: bool = MISSING
    resume: str | None = None
    checkpoint: str = MISSING
    trust: list[str] = field(default_factory=list)
    sweep: Sweep = field(default_factory=Sweep)


def check_root(cfg: DictConfig) -> None:
    """Raise UserError for an unknown key, a wrong type or an impossible value at the root."""
    root: dict[str, Any] = {str(key): OmegaConf.select(cfg, str(key)) for key in cfg if key not in GROUPS}
    known = [f.name for f in dataclasses.fields(Root)] + list(GROUPS)
    for key, value in root.items():
        if key not in known:
            raise UserError(f"{key}: there is no such key; {did_you_mean(str(key), known)}")
        try:
            OmegaConf.merge(OmegaConf.structured(Root), {key: value})
        except OmegaConfBaseException as error:
            raise UserError(f"{error.full_key or key}={value}: {str(error).splitlines()[0]}") from error
    if not 0 <= cfg.seed < 2**32:
        raise UserError(f"seed={cfg.seed}: must be from 0 to {2**32 - 1}")
    if cfg.checkpoint not in ("last", "best"):
        raise UserError(f"checkpoint={cfg.checkpoint}: must be last or best, the one that is tested")
    if not cfg.fit and not cfg.test:
        raise UserError("fit=false test=false: nothing is left to do; leave one of them true")
    if not cfg.fit and not cfg.resume:
        raise UserError("fit=false: needs resume=<run directory or checkpoint> to say which weights to test")


def build(node: DictConfig, path: str, **more: Any) -> Any:
    """Make what ``node`` describes, handing over ``more`` too. Raises UserError, with the key, where it cannot be."""
    check(node, path, tuple(more))
    try:
        return hydra.utils.instantiate(node, **more, _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__ or error
        if isinstance(cause, UserError):
            raise cause from None
        said = " ".join(str(cause).split())
        where = f"{path}." if re.match(r"\w+=", said) else f"{path} ({node._target_}): "
        raise UserError(where + said) from error


def check(node: DictConfig, path: str, given: tuple[str, ...] = ()) -> None:
    """Check the keys and types of ``node`` against its target's signature; ``given`` arguments come from elsewhere."""
    if not isinstance(node, DictConfig) or "_target_" not in node:
        raise UserError(f"{path}: must name what to make, as _target_: package.module.Class")
    try:
        target = pydoc.locate(node._target_)
    except pydoc.ErrorDuringImport as error:
        raise UserError(f"{path}._target_={node._target_}: cannot be imported ({error.value})") from error
    if not callable(target):
        raise UserError(f"{path}._target_={node._target_}: there is no such class or function; name it in full")
    parameters = inspect.signature(target).parameters
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    keys = [str(key) for key in node if str(key) not in ("_target_", "_partial_", "_convert_", "_recursive_", "_args_")]
    known = [name for name in parameters if name not in given and name not in ("self", "args", "kwargs", "params")]
    values = OmegaConf.to_container(node, resolve=True)
    assert isinstance(values, dict)
    hints = _hints(target)
    for key in keys:
        if key not in known and not open_ended:
            raise UserError(f"{path}.{key}: there is no such key; {did_you_mean(key, known)}")
        if key in hints:
            _check_type(f"{path}.{key}", values[key], hints[key])
    for name in known:
        p = parameters[name]
        if p.default is p.empty and name not in keys and p.kind is not p.VAR_KEYWORD and not node.get("_partial_"):
            raise UserError(f"{path}.{name}: missing; {node._target_} needs it")


def _hints(target: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(target.__init__ if inspect.isclass(target) else target)
    except Exception:  # annotations of foreign classes may name what only a type checker sees
        return {}


def _check_type(path: str, value: Any, hint: Any) -> None:
    """Raise UserError where ``value`` is not of the type ``hint``; types that OmegaConf does not know pass."""
    if (schema := _schema(hint)) is None:
        return
    try:
        OmegaConf.merge(schema, {"value": value})
    except OmegaConfBaseException:
        wanted = getattr(hint, "__name__", str(hint)) if not typing.get_args(hint) else str(hint).replace("typing.", "")
        raise UserError(f"{path}={value}: must be of type {wanted}") from None


@functools.cache  # making it costs more than asking it
def _schema(hint: Any) -> Any:
    try:
        return OmegaConf.structured(dataclasses.make_dataclass("Argument", [("value", hint, MISSING)]))
    except (ValidationError, OmegaConfBaseException, ValueError, TypeError):
        return None


def flat(cfg: DictConfig) -> dict[str, Any]:
    """What tells one run from another, as dotted keys and plain values for tables: ``model: MLP, optim.lr: 0.1, ...``.

    What only watches the run (callbacks, loggers) and where its data lie is left out.
    """
    result: dict[str, Any] = {}

    def walk(node: Any, path: str) -> None:
        if isinstance(node, dict):
            for key, value in node.items():
                walk(value, f"{path}.{key}" if path else str(key))
        elif path.endswith("._target_"):
            result[path.removesuffix("._target_")] = str(node).rpartition(".")[2]
        elif node is not None and path not in ("data.root", "name"):
            result[path] = node if isinstance(node, (bool, int, float, str)) else str(node)

    everything = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(everything, dict)
    walk({key: value for key, value in everything.items() if key not in _NOT_OF_THE_RUN}, "")
    return result
