"""Mistakes a user can mend, told in one line: what, where, what to do. ``HYDRA_FULL_ERROR=1`` shows the traceback."""

import argparse
import codecs
import contextlib
import difflib
import errno
import importlib
import io
import logging
import os
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NoReturn

from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import ConfigAttributeError, OmegaConfBaseException
from yaml import MarkedYAMLError

FULL_ERRORS = os.environ.get("HYDRA_FULL_ERROR") == "1"
_ASCII = {"±": "+-", "…": "...", "←": "<-", "→": "->"}  # for consoles that have no more than that


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
    if not known:
        return otherwise or "there is nothing to choose from"
    choice = f"{guess}choose from {', '.join(known)}"
    return f"{choice}; {otherwise}" if otherwise and not near else choice


def short_path(path: Path) -> str:
    """``path`` as a command names it: from here where it lies below, else in full; with / on every system."""
    path, here = path.absolute(), Path.cwd()
    return (path.relative_to(here) if path.is_relative_to(here) else path).as_posix()


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
    if key.startswith("augment.") and not known:
        what = "augment=none has no keys, choose another option of the group first"
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


def _plain(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    return "".join(_ASCII.get(character, "?") for character in error.object[error.start : error.end]), error.end


def open_console() -> None:
    """Make stdin, stdout and stderr files that can be used, whatever they are: closed, or of another encoding.

    A closed one is None to Python, and the next file that is opened, a checkpoint, would get its place and its text.
    """
    logging.raiseExceptions = False  # a log that cannot be written, on a full disk, is no reason to print tracebacks
    codecs.register_error("plain", _plain)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, PTH123
            os.set_inheritable(getattr(sys, name).fileno(), True)  # for the processes of a sweep
        if mode == "w" and isinstance(stream := getattr(sys, name), io.TextIOWrapper):
            stream.reconfigure(errors="plain")


def _refuse(parser: argparse.ArgumentParser, message: str) -> NoReturn:
    """In place of argparse's page of usage."""
    program = parser.prog if parser.prog.startswith("python") else f"python {parser.prog}"
    flags = "" if " -m " in program else ". Flags such as --multirun go first, then key=value"
    raise UserError(f"{message}; see {program} --help{flags}")


@contextlib.contextmanager
def exit_on_user_error() -> Iterator[None]:
    """End the program with one line on stderr and exit code 1 for an error that the user can mend.

    Hydra would print errors its own way and exit, unless asked for full ones: so it is asked, and they are told here.
    A reader of stdout that goes away, as ``head`` does, ends the program without a word.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"
    open_console()
    argparse.ArgumentParser.error = _refuse  # type: ignore[method-assign,assignment]
    try:
        with as_user_error():
            yield
    except BrokenPipeError:
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except UserError as error:
        if FULL_ERRORS:
            raise
        with contextlib.suppress(OSError):
            print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except OSError:  # Python would try again at its end, and complain
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
