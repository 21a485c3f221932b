"""What a config must be, checked before anything is loaded.

The shape of a group is the signature of what its ``_target_`` names: the constructor's arguments are the keys, their
annotations the types, their checks the ranges. So a class and its YAML file are all that a new option takes.
"""

import dataclasses
import functools
import inspect
import math
import pydoc
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import MISSING, DictConfig, OmegaConf, ValidationError
from omegaconf.errors import OmegaConfBaseException

from mnist_lab.errors import UserError, did_you_mean

OBSERVERS = ("callbacks", "logger", "view", "speed")  # groups that change no result
GROUPS = ("model", "loss", "optim", "schedule", "data", "trainer", *OBSERVERS)
_NOT_SETTINGS = (*OBSERVERS, "resume", "trust", "sweep")
# What the code hands over when it builds a group; everything else comes from YAML.
_GIVEN = {
    "optim": ("params",),
    "data": ("seed",),
    "trainer": ("callbacks", "logger", "default_root_dir"),
    "logger": ("save_dir", "from_step"),
}


@dataclass
class Sweep:
    """What belongs to a sweep as a whole."""

    resume: str | None = None
    pictures: bool = False
    page: bool = True


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


def config_folder() -> str:
    """Where ``conf/`` lies: inside the package where that was installed from a wheel, else at the repository's top."""
    here = Path(__file__).parent
    return str(here / "conf" if (here / "conf").is_dir() else here.parents[1] / "conf")


def check(cfg: DictConfig) -> dict[str, DictConfig]:
    """What there is to build, by its path in the config: the groups, and each callback that is switched on.

    Raises UserError for an unknown key, a wrong type or an impossible value, at the root and in each group.
    """
    _check_keys("", Root, {str(key): OmegaConf.select(cfg, str(key)) for key in cfg if key not in GROUPS}, (), GROUPS)
    if not 0 <= cfg.seed < 2**32:
        raise UserError(f"seed={cfg.seed}: must be from 0 to {2**32 - 1}")
    if cfg.checkpoint not in ("last", "best"):
        raise UserError(f"checkpoint={cfg.checkpoint}: must be last or best, the one that is tested")
    if not cfg.fit and not cfg.test:
        raise UserError("fit=false test=false: nothing is left to do; leave one of them true")
    if not cfg.fit and not cfg.resume:
        raise UserError("fit=false: needs resume=<run directory or checkpoint> to say which weights to test")
    switches = cfg.get("speed") or {}
    known = list(OmegaConf.load(Path(config_folder(), "speed", "on.yaml")).speed) if switches else []
    for switch, value in switches.items():
        if switch not in known:
            raise UserError(f"speed.{switch}: there is no such switch; {did_you_mean(switch, known)}")
        if not isinstance(value, bool):
            raise UserError(f"speed.{switch}={value}: must be true or false")
    nodes = {group: cfg.get(group) for group in GROUPS if group not in OBSERVERS}
    nodes |= {group: cfg[group] for group in ("logger", "view") if cfg.get(group)}
    for name, node in (cfg.get("callbacks") or {}).items():
        if node and not (isinstance(node, DictConfig) and node.get("enabled") is False):
            nodes[f"callbacks.{name}"] = node
    for path, node in nodes.items():
        check_node(node, path)
    return nodes


def check_node(node: DictConfig, path: str) -> None:
    """Check the keys and types of ``node`` against the signature of its target. Raises UserError, naming the key."""
    if not isinstance(node, DictConfig) or "_target_" not in node:
        raise UserError(f"{path}: must name what to make, as _target_: package.module.Class")
    try:
        target = pydoc.locate(node._target_)
    except pydoc.ErrorDuringImport as error:
        raise UserError(f"{path}._target_={node._target_}: cannot be imported ({error.value})") from error
    if not callable(target):
        raise UserError(f"{path}._target_={node._target_}: there is no such class or function; name it in full")
    values: Any = OmegaConf.to_container(node, resolve=True)
    keys = {str(key): value for key, value in values.items() if not str(key).startswith("_") and key != "enabled"}
    required = _check_keys(f"{path}.", target, keys, ("self", "args", "kwargs", *_GIVEN.get(path, ())))
    if missing := [] if node.get("_partial_") else [name for name in required if name not in keys]:
        raise UserError(f"{path}.{missing[0]}: missing; {node._target_} needs it")


def _check_keys(
    prefix: str, target: Callable[..., Any], values: dict[str, Any], given: Sequence[str], more: Sequence[str] = ()
) -> list[str]:
    """The arguments that ``target`` needs. Raises UserError where ``values`` are not arguments that it takes."""
    parameters = inspect.signature(target).parameters
    known = [name for name in parameters if name not in given]
    try:
        hints = typing.get_type_hints(target.__init__ if inspect.isclass(target) else target)
    except Exception:  # annotations of foreign classes may name what only a type checker sees
        hints = {}
    for key, value in values.items():
        if key not in known and not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            raise UserError(f"{prefix}{key}: there is no such key; {did_you_mean(key, [*known, *more])}")
        try:
            OmegaConf.merge(_schema(hints.get(key)), {"value": value})
        except OmegaConfBaseException:
            hint = hints[key]
            wanted = str(hint).replace("typing.", "") if typing.get_args(hint) else getattr(hint, "__name__", str(hint))
            raise UserError(f"{prefix}{key}={value}: must be of type {wanted}") from None
    needed = [name for name in known if parameters[name].default is inspect.Parameter.empty]
    return [name for name in needed if parameters[name].kind is not inspect.Parameter.VAR_KEYWORD]


@functools.cache  # making it costs more than asking it
def _schema(hint: Any) -> Any:
    """What OmegaConf checks a value of the type ``hint`` by; types that it does not know pass."""
    try:
        return OmegaConf.structured(dataclasses.make_dataclass("Argument", [("value", hint, MISSING)]))
    except (ValidationError, OmegaConfBaseException, ValueError, TypeError):
        return OmegaConf.create({"value": None})


def flatten_config(cfg: DictConfig) -> dict[str, Any]:
    """What tells one run from another, as dotted keys and plain values for tables: ``model: MLP, optim.lr: 0.1, ...``.

    What only observes the run (callbacks, loggers) and where its data lie is left out.
    """
    result: dict[str, Any] = {}

    def walk(node: Any, path: str) -> None:
        if isinstance(node, dict):
            for key, value in node.items():
                walk(value, f"{path}.{key}" if path else str(key))
        elif path.endswith("._target_"):
            result[path.removesuffix("._target_")] = str(node).rpartition(".")[2]
        elif node is not None and path not in ("data.root", "name"):
            finite = not isinstance(node, float) or math.isfinite(node)  # JSON has neither NaN nor infinity
            result[path] = node if finite and isinstance(node, (bool, int, float, str)) else str(node)

    everything = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(everything, dict)
    walk({key: value for key, value in everything.items() if key not in _NOT_SETTINGS}, "")
    return result
