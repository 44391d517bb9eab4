"""Run a gateway: cameras in, events out.

::

    python -m runtime.gateway.app gateway.toml
    python -m runtime.gateway.app gateway.toml --check    # only read the file

SIGTERM and SIGINT end it, SIGHUP makes it take up a version that was installed. If a thread of it
ends by an error that nobody foresaw, it ends with exit code 1, to be started anew as a whole.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Final

from runtime.errors import HeadlightError, MissingExtraError
from runtime.printable import printable

from .notify import Watchdog, notify, watchdog_interval_s

__all__ = ["main"]

_LOG: Final = logging.getLogger("headlight.gateway")
_THREAD_ENDED: Final = -1
"""Besides the numbers of signals."""
_NEEDED: Final = ("msgspec", "starlette", "uvicorn", "prometheus_client", "paho.mqtt")


def _run(path: Path, *, check: bool) -> None:
    """Read the file, and run what it says until a signal comes.

    Raises:
        HeadlightError: the file or what it names cannot be used.
    """
    missing = [name for name in _NEEDED if not _there(name)]
    if missing:
        raise MissingExtraError(
            f"the gateway needs {', '.join(missing)}; pip install 'headlight[gateway,video]'"
        )
    # Here, because they need what was just looked for.
    from .config import read_config
    from .gateway import Gateway

    options = read_config(path)
    if check:
        print(f"{path}: {len(options.camera)} cameras; it can be used")
        return
    logging.basicConfig(
        level=options.log_level.upper(), format="%(levelname)s %(name)s: %(message)s"
    )
    with ExitStack() as parts, _Signals() as signals:
        gateway = Gateway(options)
        parts.callback(gateway.stop)
        gateway.start()
        if options.serve is not None:
            from .serve.server import Server

            parts.enter_context(Server(gateway, options.serve))
        parts.enter_context(Watchdog(gateway.ailing, interval_s=watchdog_interval_s()))
        notify(f"READY=1\nSTATUS={len(options.camera)} cameras, {gateway.reader.info.id}")
        while (came := signals.wait()) == signal.SIGHUP:
            gateway.follow()
        notify("STOPPING=1")
        _LOG.info("ending")
        if came == _THREAD_ENDED:
            raise HeadlightError("a thread ended by an error; the log says which and where")


def _there(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # of the parent of "paho.mqtt"
        return False


class _Signals:
    """Turns signals, and threads that end by an error, into a value to wait for.

    A context manager for the main thread.
    """

    _OURS: Final = tuple(
        getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name)
    )

    def __init__(self) -> None:
        self._came: list[int] = []
        self._news = threading.Semaphore(0)
        self._before: dict[int, object] = {}
        self._tell = threading.excepthook

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        self._came.append(number)
        self._news.release()

    def _note_thread(self, ended: threading.ExceptHookArgs) -> None:
        self._note(_THREAD_ENDED, None)
        self._tell(ended)

    def __enter__(self) -> _Signals:
        self._before = {number: signal.signal(number, self._note) for number in self._OURS}
        threading.excepthook = self._note_thread
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)  # type: ignore[arg-type]
        threading.excepthook = self._tell

    def wait(self) -> int:
        """Return the next signal's number, or ``_THREAD_ENDED``."""
        while not self._news.acquire(timeout=1.0):  # a wait without end would hold signals back
            pass
        return self._came.pop(0)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return 0, or 1 after printing ``error: ...``."""
    parser = argparse.ArgumentParser(
        prog="python -m runtime.gateway.app", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("config", type=Path, help="gateway.toml")
    parser.add_argument("--check", action="store_true", help="only read the file")
    options = parser.parse_args(argv)
    try:
        _run(options.config, check=options.check)
    except HeadlightError as error:
        print(f"error: {printable(str(error), lines=True)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
