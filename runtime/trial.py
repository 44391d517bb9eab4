"""Loading an artifact in a child process first, so that a crash of the engine is only an error.

Digests show that a file is the one that was exported, not that it is well-meant or that this engine
survives it: engines parse their files in C++, and a damaged or hostile graph can end the process,
hang or fill the memory. ``trial_load`` does in a child all that ``Reader.open`` does (verify, load,
score the golden vectors, alone and as a batch) and turns every such end into an ``EngineError``.

It is no sandbox: whatever the engine does, it does with the rights of this user.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from . import errors
from .errors import EngineError, HeadlightError
from .session import SessionOptions

if TYPE_CHECKING:
    import subprocess

__all__ = ["MEMORY_BYTES", "TIMEOUT_S", "limit_process", "trial_load"]

TIMEOUT_S: Final = 120.0
"""After this a trial has hung; a load takes a second or two."""
MEMORY_BYTES: Final = 4 << 30
"""Private memory that a trial may take; it does not limit engines on a GPU, whose driver maps the
whole card."""
_UNLIMITED: Final = frozenset({"trt", "rtx"})
# The child's path is set to ours before it imports anything, so that it runs the same code,
# wherever an embedder has put it; -I keeps the environment from adding to it, -B from writing.
_START: Final = (
    "import sys, json, importlib; job = json.load(sys.stdin); sys.path[:] = job['path']; "
    "importlib.import_module(job['module'])._child(job)"
)


def trial_load(
    folder: Path,
    options: SessionOptions,
    *,
    timeout_s: float = TIMEOUT_S,
    memory_bytes: int = MEMORY_BYTES,
) -> Mapping[str, str]:
    """Load an artifact and check its golden vectors in a child process.

    Args:
        folder: The artifact.
        options: As it will be loaded.
        timeout_s: A child that takes longer is killed.
        memory_bytes: Memory that the child may take; held on Linux only.

    Returns:
        The engine's description, as the child's session gave it.

    Raises:
        ArtifactError: the folder is no artifact or a file of it was changed.
        EngineError: the engine refused the file, missed the golden vectors, crashed, hung or took
            too much memory; or there is no Python interpreter to start.
    """
    import subprocess  # with what it imports, as slow to import as half of the runtime

    if not sys.executable or getattr(sys, "frozen", False):
        raise EngineError(
            "a trial load starts a Python interpreter, and sys.executable names none; open the "
            "artifact without trial"
        )
    job = {
        "module": __name__,
        "path": [entry for entry in sys.path if isinstance(entry, str)],  # import skips others
        "folder": str(folder),
        "threads": options.threads,
        "hint": options.hint,
        "max_batch": options.batch,
        "cache_dir": None if options.cache_dir is None else str(options.cache_dir),
        "memory_bytes": memory_bytes,
    }
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-B", "-c", _START],
            input=json.dumps(job).encode(),
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise EngineError(
            f"{folder}: a trial load did not end within {timeout_s:g} s and was killed; {_ADVICE}"
        ) from error
    return _outcome(folder, done)


_ADVICE: Final = "the engine cannot load this artifact here: export it again, or on this machine"


def _outcome(folder: Path, done: subprocess.CompletedProcess[bytes]) -> Mapping[str, str]:
    """Return what the child found, or raise what it raised."""
    try:
        found = json.loads(done.stdout)
    except ValueError:
        found = None
    if done.returncode == 0 and isinstance(found, dict) and "description" in found:
        description: Mapping[str, str] = found["description"]
        return description
    if done.returncode == 1 and isinstance(found, dict) and "error" in found:
        kind = getattr(errors, str(found["error"]), EngineError)
        raise kind(str(found["message"]))
    end = f"ended with exit code {done.returncode}"
    if done.returncode < 0:
        end = f"was ended by {_signal_name(-done.returncode)}"
    words = done.stderr.decode("utf-8", "replace").strip().splitlines()
    said = f" ({words[-1]:.200})" if words else ""
    raise EngineError(f"{folder}: a trial load {end}{said}; {_ADVICE}")


def _signal_name(number: int) -> str:
    import signal

    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _child(job: Mapping[str, Any]) -> None:
    """Do the trial in the process that ``trial_load`` started."""
    result = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # engines print to stdout; the result must stand there alone
    try:
        found: Mapping[str, Any] = {"description": dict(_load(job))}
    except HeadlightError as error:
        found = {"error": type(error).__name__, "message": str(error)}
    except MemoryError:
        found = {"error": "EngineError", "message": f"{job['folder']}: out of memory"}
    with result:
        json.dump(found, result)
    # At once: a damaged engine may also crash while it is torn down, which no caller would see.
    os._exit(int("error" in found))


def _load(job: Mapping[str, Any]) -> Mapping[str, str]:
    # Here, because the reader imports this module.
    from .golden import check_golden
    from .manifest import Manifest
    from .reader import Reader

    folder = Path(job["folder"])
    limited = Manifest.load(folder).engine not in _UNLIMITED
    limit_process(job["memory_bytes"] if limited else None)
    cache = job["cache_dir"]
    with Reader.open(
        folder,
        threads=job["threads"],
        hint=job["hint"],
        max_batch=job["max_batch"],
        cache_dir=None if cache is None else Path(cache),
    ) as reader:
        check_golden(reader.session, reader.info, folder, batch=job["max_batch"])
        return reader.engine


def limit_process(memory_bytes: int | None) -> None:
    """Let this process take no more memory than allowed, and leave no core file if it crashes.

    Args:
        memory_bytes: Private memory, held on Linux only; None: any.
    """
    try:
        import resource
    except ImportError:  # Windows has neither
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if memory_bytes is not None and sys.platform == "linux":
        # Not RLIMIT_AS: allocators and threads reserve far more addresses than they use.
        resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
