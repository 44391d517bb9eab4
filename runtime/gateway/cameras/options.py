"""What a person writes about one camera."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Final

from runtime.errors import ConfigError
from runtime.gateway.secrets import read_secret

from .addresses import Kind, kind_of, redacted, with_login

__all__ = ["TRANSPORTS", "CameraOptions"]

TRANSPORTS: Final = ("tcp", "udp")
_NAME: Final = re.compile(r"[\w.-]{1,64}")
_SIZE: Final = re.compile(r"|[1-9]\d{0,4}x[1-9]\d{0,4}")
_RANGES: Final = {
    "fps": (0.0, 1000.0),
    "connect_s": (0.1, 600.0),
    "stall_s": (0.1, 600.0),
    "damaged_s": (0.1, 3600.0),
    "frozen_s": (0.0, 86_400.0),
    "retry_first_s": (0.01, 3600.0),
    "retry_most_s": (0.01, 3600.0),
    "refused_retry_s": (0.01, 86_400.0),
    "threads": (1, 64),
}


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class CameraOptions:
    """One camera: where it is and how its pictures are taken.

    Raises:
        ConfigError: a value that cannot work.
    """

    name: str
    """In logs, metrics and events: up to 64 letters, digits, "_", "-" and "."."""
    url: str
    """``rtsp://``, ``rtsps://``, ``http://`` or ``https://`` (MJPEG), ``v4l2:///dev/video0``, or a
    path: a video, a folder of pictures, or a .txt or .tsv list of pictures (first column)."""
    username: str = ""
    """Who logs in; here rather than in ``url``."""
    password_variable: str = ""
    """Environment variable that holds the password; read again for every connection."""
    password_file: str = ""
    """File that holds the password; read again for every connection."""
    ca_file: str = ""
    """PEM file that the camera's certificate must be signed by, for rtsps and https. Without it any
    certificate will do: traffic is hidden, but not from whoever poses as the camera."""
    transport: str = "tcp"
    """``tcp``: nothing is lost on the way; ``udp``: for RTSP cameras that offer nothing else."""
    fps: float = 0.0
    """Pictures per second that are offered at most, 0 to 1000; 0: all. For pictures in a folder or
    list the rate at which they come, 0: 1."""
    realtime: bool = True
    """A file plays at its own pace; if not, each of its pictures waits until it is taken."""
    loop: bool = False
    """A file begins anew when it ends."""
    keyframes_only: bool = False
    """Decode keyframes alone, often one per second or fewer: next to no CPU."""
    hold_after_error: bool = True
    """After an error or a loss keep pictures back until the next keyframe: those in between are
    built on what is missing, mostly without a flag. If not, only flagged ones are kept back."""
    hold_after_gap: bool = True
    """A missing time stamp counts as a loss. Turn it off for cameras whose rate varies."""
    connect_s: float = 5.0
    """Longest wait for a connection and for what the stream holds, 0.1 to 600 s."""
    stall_s: float = 2.5
    """Without data for that long, the camera is connected anew, 0.1 to 600 s."""
    damaged_s: float = 15.0
    """Without one usable picture for that long, although data arrive, it is connected anew; unless
    nothing was wrong all the time but that no keyframe came: then pictures are handed out again.
    Longer than the time between two keyframes, 0.1 to 3600 s."""
    frozen_s: float = 60.0
    """Same pixels for that long count as a frozen camera, which is connected anew; 0: never. Not
    for files. Clocks drawn into the picture hide a frozen sensor."""
    retry_first_s: float = 0.25
    """Wait before the first new connection; doubles up to ``retry_most_s``, 0.01 to 3600 s."""
    retry_most_s: float = 2.0
    """Longest wait between connections, at least ``retry_first_s``."""
    refused_retry_s: float = 30.0
    """Wait after a refused login, or a stream that cannot be decoded: cameras lock accounts after
    some attempts. 0.01 to 86,400 s."""
    threads: int = 1
    """Decoder threads, 1 to 64. More than 1 delays each picture by up to as many pictures, and pays
    only where one core cannot follow (4K)."""
    size: str = ""
    """Width and height to ask a V4L2 device for, such as ``1280x720``; empty: its own."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ConfigError(
                f"camera name {self.name!r} must be 1 to 64 letters, digits, '_', '-' and '.'"
            )
        for field, (least, most) in _RANGES.items():
            value = getattr(self, field)
            if not least <= value <= most:
                raise ConfigError(
                    f"camera {self.name}: {field} must be in [{least:g}, {most:g}], got {value}"
                )
        if self.transport not in TRANSPORTS:
            raise self._error(f"transport {self.transport!r} is unknown; use one of {TRANSPORTS}")
        if self.retry_most_s < self.retry_first_s:
            raise self._error("retry_most_s must be at least retry_first_s")
        if not _SIZE.fullmatch(self.size):
            raise self._error(f"size must look like 1280x720, got {self.size!r}")
        self._check_login()

    def _check_login(self) -> None:
        kind = kind_of(self.url)
        if not (self.username or self.password_variable or self.password_file):
            return
        if kind not in (Kind.RTSP, Kind.HTTP):
            raise self._error("only rtsp and http cameras take a login")
        if not self.username or bool(self.password_variable) == bool(self.password_file):
            raise self._error("a login is username and one of password_variable and password_file")
        if "@" in self.url:
            raise self._error("the login stands both in url and beside it; leave one out")

    def _error(self, text: str) -> ConfigError:
        return ConfigError(f"camera {self.name}: {text}")

    @property
    def kind(self) -> Kind:
        """What stands behind ``url``."""
        return kind_of(self.url)

    @property
    def shown_url(self) -> str:
        """``url`` without its login."""
        return redacted(self.url)

    def full_url(self) -> str:
        """Return ``url`` with the login in it: never log or keep it.

        Raises:
            ConfigError: the variable or file of the password is not there.
        """
        if not self.username:
            return self.url
        password = read_secret(
            f"camera {self.name}: the password",
            variable=self.password_variable,
            file=self.password_file,
        )
        return with_login(self.url, self.username, password or b"")

    def __repr__(self) -> str:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        values["url"] = self.shown_url
        return f"CameraOptions({', '.join(f'{name}={value!r}' for name, value in values.items())})"
