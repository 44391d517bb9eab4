"""How every command line of Headlight behaves: typed options, exit codes, errors, Ctrl-C."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final, TypeVar

from runtime.errors import ConfigError, HeadlightError, MissingExtraError
from runtime.staging import holds

__all__ = ["missing_extra", "require_packages", "run_command", "say"]

ConfigT = TypeVar("ConfigT")

_REPLACED: Final = ("output", "report")
"""Options that name what ``--overwrite`` replaces."""


def run_command(
    argv: Sequence[str] | None,
    config_type: type[ConfigT],
    work: Callable[[ConfigT], int],
    *,
    prog: str,
    defaults: Callable[[ConfigT], ConfigT] | None = None,
    renewed: Sequence[str] = (),
) -> int:
    """Parse ``argv`` into ``config_type``, run ``work`` and return the exit code.

    Args:
        argv: The words; those of the process where None.
        config_type: Its fields are the options.
        work: What to do.
        prog: What the command is called.
        defaults: From the options to the values of those that were not given, where these depend
            on others, such as on what a checkpoint holds.
        renewed: Options that name what may be replaced with the output, as it is made anew there.

    Returns:
        What ``work`` returns; 1 after an expected failure or Ctrl-C, told on stderr; 2 after
        wrong usage.
    """
    try:
        import tyro
    except ImportError as error:
        say(f"error: {MissingExtraError(missing_extra('tyro', 'bench'))} ({error})")
        return 1
    try:
        config = tyro.cli(config_type, args=argv, prog=prog)
        if defaults is not None:
            config = tyro.cli(config_type, args=argv, prog=prog, default=defaults(config))
        _check_inputs(config, renewed)
        return work(config)
    except SystemExit as stop:  # tyro leaves this way after --help (0) and wrong usage (2)
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except HeadlightError as error:
        say(f"error: {error}")
        return 1
    except BrokenPipeError:
        if not _nobody_reads():
            raise
        return 1
    except OSError as error:  # a full disk, a medium that cannot be written
        say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        say("error: interrupted; nothing half-written is left, the same command starts or resumes")
        return 1


def _check_inputs(config: object, renewed: Sequence[str]) -> None:
    """Fail where a folder that is to be replaced holds something that is read.

    Raises:
        ConfigError: naming both.
    """
    if not getattr(config, "overwrite", False):
        return
    replaced = {
        name: path
        for name in _REPLACED
        if isinstance(path := getattr(config, name, None), Path) and path.exists()
    }
    read = [
        path
        for field in fields(config)  # type: ignore[arg-type]
        if field.name not in (*replaced, *renewed)
        for path in _paths(getattr(config, field.name))
        if path.exists()
    ]
    for name, target in replaced.items():
        for path in read:
            if holds(target, path):
                raise ConfigError(
                    f"--{name} {target} would be replaced, and {path} with it, which is read; "
                    f"choose another {name}"
                )


def _paths(value: object) -> Iterator[Path]:
    """Yield the paths in the value of an option, however deep."""
    if isinstance(value, Path):
        yield value
    elif is_dataclass(value):
        for field in fields(value):
            yield from _paths(getattr(value, field.name))
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _paths(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _paths(item)


def _nobody_reads() -> bool:
    """Whether stdout is a pipe whose reader, `head` for one, has seen enough; if so, silence it."""
    if not hasattr(select, "poll"):  # Windows has other pipes
        return False
    state = select.poll()
    state.register(sys.stdout.fileno(), 0)
    if not any(event & select.POLLERR for _, event in state.poll(0)):
        return False
    # Python flushes once more at its end, which must not fail again.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return True


def missing_extra(package: str, extra: str) -> str:
    """Return the message for a package that an extra would have installed."""
    return f"package {package!r} is not installed; run: pip install 'headlight[{extra}]'"


def require_packages(extra: str, *packages: str) -> None:
    """Fail unless the packages that ``extra`` installs are there; none is imported.

    For packages of ours whose modules import them at the top: called first in ``__init__``, it
    turns an ImportError from anywhere below into a message that says what to install.

    Raises:
        MissingExtraError: one is missing.
    """
    missing = [package for package in packages if find_spec(package) is None]
    if not missing:
        return
    error = MissingExtraError(missing_extra(missing[0], extra))
    # "-m" stands there while Python looks for the module of `python -m`: no code of ours could
    # catch the error and print it as `run_command` does.
    if sys.argv[:1] == ["-m"]:
        say(f"error: {error}")
        raise SystemExit(1)
    raise error


def say(text: str) -> None:
    """Tell the person at the terminal something that is not the result."""
    print(text, file=sys.stderr, flush=True)
