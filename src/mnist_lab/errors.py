"""Mistakes a user can mend, told in one line: what, where, what to do. ``HYDRA_FULL_ERROR=1`` shows the traceback."""

import argparse
import contextlib
import difflib
import errno
import importlib
import os
import re
import sys
from collections.abc import Iterable, Iterator
from typing import NoReturn

from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import ConfigAttributeError, OmegaConfBaseException
from yaml import MarkedYAMLError

FULL_ERRORS = os.environ.get("HYDRA_FULL_ERROR") == "1"


class UserError(Exception):
    """Something the user can mend; the message says what, where and what to do."""


class Pruned(Exception):  # noqa: N818
    """Raised by a callback to stop a run of a search: others were better at the same step."""


def require_extra(module: str, extra: str, what: str) -> None:
    """Raise UserError, naming the extra to install, where ``module`` is not installed."""
    try:
        importlib.import_module(module)
    except ImportError:
        advice = f"pip install -e '.[{extra}]' in the project's folder"
        raise UserError(f"{what}: needs {module}, which is not installed: {advice}") from None


def did_you_mean(word: str, known: Iterable[str], otherwise: str = "") -> str:
    """The list of what would be right, the nearest first where there is one, else followed by ``otherwise``."""
    known = list(known)
    near = difflib.get_close_matches(word, known, n=1)
    guess = f"did you mean {near[0]}? " if near else ""
    choice = f"{guess}choose from {', '.join(known)}" if known else "there is nothing to choose from"
    return f"{choice}; {otherwise}" if otherwise and not near else choice


def describe(error: BaseException) -> str | None:
    """One line for an error that the user can mend, None for any other."""
    cause: BaseException | None = error
    while cause is not None:  # OmegaConf wraps what goes wrong in a resolver
        if isinstance(cause, UserError):
            return str(cause)
        cause = cause.__cause__ or cause.__context__
    said = " ".join(str(error).split())
    if isinstance(error, MissingConfigException) and "/" in (error.missing_cfg_file or ""):
        group, _, option = str(error.missing_cfg_file).rpartition("/")
        return f"{group}={option}: there is no such option; {did_you_mean(option, error.options or [])}"
    if isinstance(error, ConfigCompositionException) and isinstance(error.__cause__, OmegaConfBaseException):
        return _describe_override(error.__cause__)
    if several := re.search(r"(?:Ambiguous value for argument|Sweep parameters) '(.*?)' ?(?:1\.|requires)", said):
        key, _, values = several[1].partition("=")
        instead = "" if "(" in values else f"; a list is written '{key}=[{values}]'"
        return f"{several[1]}: several values are for --multirun, which goes before them{instead}"
    if isinstance(error, OverrideParseException):
        return f"{error.override}: is not key=value, as model=softmax or 'model.hidden=[9,9]', with no space at the ="
    if isinstance(error, MarkedYAMLError) and (mark := error.problem_mark):
        return f"{mark.name}, line {mark.line + 1}: {error.problem}; check indentation (spaces only), colons and quotes"
    if isinstance(error, ValueError) and "Config group override must be" in said:  # Hydra's, for view=null
        return "a group takes the name of an option, as model=softmax; ~view or ~callbacks leaves one out"
    if isinstance(error, ValueError) and "Invalid defaults list" in said:  # Hydra's
        return said
    if isinstance(error, (HydraException, OmegaConfBaseException)):
        return said
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}the disk is full; free some space, then go on with resume=<run directory>"
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}; check that it exists and may be written, or name another"
    return None


def _describe_override(error: OmegaConfBaseException) -> str:
    """The line for a key on the command line that the config does not have."""
    key, parent = str(error.full_key or error.key), error.parent_node
    if not isinstance(error, ConfigAttributeError) or not isinstance(parent, DictConfig):
        return f"{key}: {str(error).splitlines()[0]}"
    names = [str(name) for name in parent.keys()]  # noqa: SIM118
    known = [name for name in names if not name.startswith("_") and name != "hydra"]
    what = f"+{key}=... adds one that its class takes besides" if "_target_" in names else ""
    return f"{key}: there is no such key; {did_you_mean(str(error.key), known, what)}"


@contextlib.contextmanager
def as_user_error() -> Iterator[None]:
    """Turn an error inside that the user can mend into a UserError of one line."""
    try:
        yield
    except Exception as error:
        if isinstance(error, UserError) or (message := describe(error)) is None:
            raise
        raise UserError(message) from error


def _refuse(parser: argparse.ArgumentParser, message: str) -> NoReturn:
    """In place of argparse's page of usage."""
    raise UserError(f"{message}; see python {parser.prog} --help. Flags such as --multirun go first, then key=value")


@contextlib.contextmanager
def exit_on_user_error() -> Iterator[None]:
    """End the program with one line on stderr and exit code 1 for an error that the user can mend.

    Hydra would print errors its own way and exit, unless asked for full ones: so it is asked, and they are told here.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"
    argparse.ArgumentParser.error = _refuse  # type: ignore[method-assign,assignment]
    try:
        with as_user_error():
            yield
    except UserError as error:
        if FULL_ERRORS:
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
