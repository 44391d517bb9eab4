"""Telling systemd that the gateway is ready, alive and stopping (sd_notify(3)).

A watchdog is only worth what it asks: ``Watchdog`` pings while ``alive`` says that all is well, so
that a gateway whose engine hangs is started anew although its process runs. Where nothing listens,
all of it does nothing.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Final

__all__ = ["Watchdog", "notify", "watchdog_interval_s"]

_LOG: Final = logging.getLogger("headlight.gateway.notify")


def notify(message: str) -> bool:
    """Send systemd a message, such as ``READY=1``; False where nobody listens.

    Args:
        message: Lines ``NAME=value``, as sd_notify(3) lists them.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    if address.startswith("@"):  # a name without a file
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)  # a service manager that hangs must not hang its service
            sender.sendto(message.encode(), address)
    except OSError as error:
        _LOG.warning("systemd could not be told %s: %s", message.partition("=")[0], error)
        return False
    return True


def watchdog_interval_s() -> float | None:
    """Return how often systemd wants to hear of this process, or None if it does not."""
    owner = os.environ.get("WATCHDOG_PID", "")
    if owner and owner != str(os.getpid()):
        return None
    try:
        interval_s = int(os.environ.get("WATCHDOG_USEC", "0")) / 1e6
    except ValueError:
        return None
    return interval_s if interval_s > 0 else None


class Watchdog:
    """Pings systemd twice per interval as long as all is well; use as a context manager.

    Args:
        ailing: Returns why the gateway should be started anew, or "". While it gives a reason, and
            also while it hangs, there are no pings.
        interval_s: As ``watchdog_interval_s`` says; None: no pings at all.
    """

    def __init__(self, ailing: Callable[[], str], *, interval_s: float | None) -> None:
        self._ailing = ailing
        self._interval_s = interval_s
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._reason = ""

    def __enter__(self) -> Watchdog:
        if self._interval_s is not None:
            self._thread = threading.Thread(
                target=self._run, args=(self._interval_s / 2,), name="watchdog", daemon=True
            )
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join(1.0)

    def _run(self, every_s: float) -> None:
        while True:
            self._ping()
            if self._ended.wait(every_s):
                return

    def _ping(self) -> None:
        try:
            reason = self._ailing()
        except Exception as error:  # noqa: BLE001 - whatever it is, all is not well
            reason = f"{type(error).__name__}: {error}"
        if not reason:
            notify("WATCHDOG=1")
        elif reason != self._reason:
            _LOG.error("no more signs of life to systemd: %s", reason)
            notify(f"STATUS=ailing: {reason.splitlines()[0]}")
        self._reason = reason
