"""What a config must be, checked before anything is loaded.

The shape of a group is the signature of what its ``_target_`` names: the constructor's arguments are the keys, their
annotations the types, their checks the ranges. So a class and its YAML file are all that a new option takes.
"""

import difflib
import inspect
import json
import math
import pydoc
import types
import typing
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import MISSING, DictConfig, OmegaConf

from mnist_lab.errors import UserError, did_you_mean

OBSERVERS = ("callbacks", "logger", "view", "speed")  # groups that change no result
MAY_BE_EMPTY = ("augment", *OBSERVERS)
GROUPS = ("model", "loss", "optim", "schedule", "data", "trainer", *MAY_BE_EMPTY)
_NOT_SETTINGS = (*OBSERVERS, "resume", "trust", "sweep")
_YAML = (bool, int, float, str, type(None), list, tuple, dict, Sequence, Iterable)  # the types that YAML can write
# What the code hands over when it builds a group; everything else comes from YAML.
_GIVEN = {
    "optim": ("params",),
    "data": ("seed", "augment"),
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

    name: str | int | None = None
    seed: int = MISSING
    deterministic: bool = MISSING
    fit: bool = MISSING
    test: bool = MISSING
    resume: str | None = None
    checkpoint: str = MISSING
    ema: float | None = None
    eval_shifts: int = 0
    trust: list[str] = field(default_factory=list)
    sweep: dict[str, Any] = field(default_factory=dict)


def config_folder() -> str:
    """Where ``conf/`` lies: inside the package where that was installed from a wheel, else at the repository's top."""
    here = Path(__file__).parent
    return str(here / "conf" if (here / "conf").is_dir() else here.parents[1] / "conf")


def check(cfg: DictConfig) -> dict[str, DictConfig]:
    """What there is to build, by its path in the config: the groups, and each callback that is switched on.

    Raises UserError for an unknown key, a wrong type or an impossible value, at the root and in each group.
    """
    if "experiment" in cfg:
        raise UserError("experiment: the first line of its file must be: # @package _global_")
    root: Any = OmegaConf.to_container(cfg, resolve=True)
    _check_keys("", Root, {str(key): value for key, value in root.items() if key not in GROUPS}, more=GROUPS)
    _check_keys("sweep.", Sweep, root.get("sweep", {}))
    if not 0 <= cfg.seed < 2**32:
        raise UserError(f"seed={cfg.seed}: must be from 0 to {2**32 - 1}")
    if cfg.checkpoint not in ("last", "best"):
        raise UserError(f"checkpoint={cfg.checkpoint}: must be last or best, the one that is tested")
    if cfg.get("ema") is not None and not 0 < cfg.ema < 1:
        raise UserError(f"ema={cfg.ema}: must be above 0 and below 1, such as 0.999; null for no averaging")
    if not 0 <= (cfg.get("eval_shifts") or 0) <= 4:
        raise UserError(f"eval_shifts={cfg.eval_shifts}: must be from 0 to 4 pixels")
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
    nodes = {group: cfg.get(group) for group in GROUPS if group not in MAY_BE_EMPTY}
    nodes |= {group: cfg[group] for group in ("augment", "logger", "view") if cfg.get(group)}
    for name, node in (cfg.get("callbacks") or {}).items():
        enabled = node.get("enabled", True) if isinstance(node, DictConfig) else True
        if not isinstance(enabled, bool):
            raise UserError(f"callbacks.{name}.enabled={enabled}: must be true or false")
        if node and enabled:
            nodes[f"callbacks.{name}"] = node
    for path, node in nodes.items():
        check_node(node, path)
    return nodes


def check_node(node: DictConfig, path: str) -> None:
    """Check the keys and types of ``node`` against the signature of its target. Raises UserError, naming the key."""
    if not isinstance(node, DictConfig) or not isinstance(node.get("_target_"), str):
        raise UserError(f"{path}: must name what to make, as {path}._target_=package.module.Class")
    try:
        target = pydoc.locate(node._target_)
    except pydoc.ErrorDuringImport as error:
        raise UserError(f"{path}._target_={node._target_}: cannot be imported ({error.value})") from error
    if not callable(target):
        module, _, name = node._target_.rpartition(".")
        found = pydoc.locate(module) if module else None
        near = [f"did you mean {module}.{n}?" for n in difflib.get_close_matches(name, dir(found), n=1, cutoff=0.5)]
        where = f" in {module}" if found else f", no module {module} is found" if module else ""
        advice = near[0] if found and near else "name it in full"
        raise UserError(f"{path}._target_={node._target_}: there is no such class or function{where}; {advice}")
    values: Any = OmegaConf.to_container(node, resolve=True)
    keys = {str(key): value for key, value in values.items() if not str(key).startswith("_") and key != "enabled"}
    advice = f"to name another class, start from {path}=other" if path in ("model", "optim") else ""
    given = ("self", "args", "kwargs", *_GIVEN.get(path, ()))
    required = _check_keys(f"{path}.", target, keys, given, advice=advice)
    if missing := [] if node.get("_partial_") else [name for name in required if name not in keys]:
        raise UserError(f"{path}.{missing[0]}: missing; {node._target_} needs it")


def _check_keys(
    prefix: str,
    target: Callable[..., Any],
    values: dict[str, Any],
    given: Sequence[str] = (),
    more: Sequence[str] = (),
    advice: str = "",
) -> list[str]:
    """The arguments that ``target`` needs. Raises UserError where ``values`` are not arguments that it takes."""
    try:
        parameters = inspect.signature(target).parameters
        hints = typing.get_type_hints(target.__init__ if inspect.isclass(target) else target)
    except ValueError:
        raise UserError(f"{prefix}_target_: {target} does not say which keys it takes; name another class") from None
    except Exception:  # annotations of foreign classes may name what only a type checker sees
        hints = {}
    known = [name for name in parameters if name not in given]
    for key, value in values.items():
        if key not in known and not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            raise UserError(f"{prefix}{key}: there is no such key; {did_you_mean(key, [*known, *more], advice)}")
        if not _fits(value, hints.get(key)):
            finite = not isinstance(value, float) or math.isfinite(value)
            names = " | ".join(str(one) if typing.get_args(one) else one.__name__ for one in _types(hints.get(key)))
            wanted = f"of type {names}" if finite else "a finite number"
            raise UserError(f"{prefix}{key}={json.dumps(value)}: must be {wanted}")
    needed = [name for name in known if parameters[name].default is inspect.Parameter.empty]
    return [name for name in needed if parameters[name].kind is not inspect.Parameter.VAR_KEYWORD]


def _types(hint: Any) -> list[Any]:
    """The types that ``hint`` allows and YAML can write; none where it sets no such limit."""
    several = typing.get_origin(hint) in (typing.Union, types.UnionType)
    kinds = {one: typing.get_origin(one) or one for one in (typing.get_args(hint) if several else (hint,))}
    plain = [one for one, kind in kinds.items() if kind in (*_YAML, typing.Literal)]
    return plain if {*kinds.values()} & {*_YAML} - {type(None)} else []


def _fits(value: Any, hint: Any) -> bool:
    """Whether ``value``, as YAML gives it, may be of the type ``hint``. NaN and infinity are no value of a setting."""
    if isinstance(value, float) and not math.isfinite(value):
        return False
    if isinstance(value, dict) and "_target_" in value:  # becomes an object
        return True
    return not (allowed := _types(hint)) or any(_is(value, one) for one in allowed)


def _is(value: Any, hint: Any) -> bool:
    kind, inner = typing.get_origin(hint) or hint, typing.get_args(hint)
    if isinstance(value, list) and kind in (list, tuple, Sequence, Iterable):
        each = inner if kind is tuple and ... not in inner else inner[:1] * len(value)
        return not inner or (len(each) == len(value) and all(map(_fits, value, each)))
    if kind is typing.Literal:
        return value in inner
    return type(value) is kind or (kind is float and type(value) is int)  # true is no number


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
