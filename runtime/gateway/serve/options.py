"""What can be set of the gateway's HTTP server: where, for whom, and how much at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from runtime.errors import ConfigError
from runtime.gateway.secrets import read_secret

__all__ = ["ServeOptions", "is_local"]

_SHORTEST_TOKEN: Final = 16
"""Bytes."""
_RANGES: Final[Mapping[str, tuple[float, float]]] = {
    "port": (0, 65535),
    "timeout_s": (0.01, 600),
    "receive_timeout_s": (0.1, 600),
    "keep_alive_s": (0.1, 3600),
    "max_body_mb": (0.01, 256),
    "max_picture_mpx": (0.01, 256),
    "max_batch": (1, 1024),
    "max_in_flight": (1, 1024),
    "max_connections": (1, 65536),
    "workers": (1, 64),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """Of the HTTP server; together, ``max_in_flight * max_body_mb`` bound its memory.

    Raises:
        ConfigError: a value out of range, or a server that anybody could use.
    """

    host: str = "127.0.0.1"
    """Address to listen on; other machines reach ``0.0.0.0`` or an address of this one."""
    port: int = 8080
    """0 to 65535; 0 takes any that is free."""
    model: str = ""
    """Name of the model at ``/v2/models``; the name of the artifact's schema where not given."""
    token_file: str = ""
    """File with the token that requests must carry (``Authorization: Bearer ...``)."""
    token_variable: str = ""
    """Environment variable with the token, instead of a file."""
    allow_anonymous: bool = False
    """Serve without a token on an address that other machines reach."""
    open_metrics: bool = False
    """``/metrics`` needs no token."""
    status_page: bool = True
    """Serve the page for people at ``/``."""
    allow_reload: bool = False
    """The page may change the artifact; needs a token."""
    timeout_s: float = 5.0
    """From a request that has come whole to its answer, 0.01 to 600 seconds; a request may ask for
    less."""
    receive_timeout_s: float = 10.0
    """For the headers of a request, for its body, and for a client to take the answer; 0.1 to 600
    seconds each."""
    keep_alive_s: float = 30.0
    """How long a connection may be idle between requests, 0.1 to 3600 seconds."""
    max_body_mb: float = 8.0
    """Largest body, 0.01 to 256 MB of 1e6 bytes."""
    max_picture_mpx: float = 16.0
    """Largest picture, 0.01 to 256 million pixels; a small file can hold a huge one."""
    max_batch: int = 64
    """Images per request, 1 to 1024."""
    max_in_flight: int = 32
    """Requests for answers at a time, 1 to 1024; the next ones are told to come back."""
    max_connections: int = 256
    """Connections at a time, 1 to 65536; the next ones are closed."""
    workers: int = 2
    """Threads that decode pictures and parse requests, 1 to 64."""
    tls_certificate: str = ""
    """PEM file with the certificate chain; with it, the server speaks HTTPS only."""
    tls_key: str = ""
    """PEM file with its key."""

    def __post_init__(self) -> None:
        for name, (least, most) in _RANGES.items():
            value = getattr(self, name)
            if not least <= value <= most:
                raise ConfigError(f"{name} must be in [{least:g}, {most:g}], got {value}")
        if not self.host or not self.host.isprintable():
            raise ConfigError(f"host must be an address or a name, got {self.host!r}")
        if not self.model.isprintable() or "/" in self.model:
            raise ConfigError(f"model must be a printable name without /, got {self.model!r}")
        if bool(self.tls_certificate) != bool(self.tls_key):
            raise ConfigError("HTTPS needs tls_certificate and tls_key")
        self._check_openness()

    def _check_openness(self) -> None:
        if self.needs_token:
            return
        if self.allow_reload:
            raise ConfigError("allow_reload needs a token: set token_file or token_variable")
        if not is_local(self.host) and not self.allow_anonymous:
            raise ConfigError(
                f"other machines reach {self.host}: set token_file or token_variable, or "
                "allow_anonymous"
            )

    @property
    def needs_token(self) -> bool:
        """Whether requests must carry a token."""
        return bool(self.token_file or self.token_variable)

    def read_token(self) -> bytes | None:
        """Return the token, or None if none is needed.

        Raises:
            ConfigError: it cannot be read, or is too short to be one.
        """
        return read_secret(
            "the token of the HTTP server",
            variable=self.token_variable,
            file=self.token_file,
            least=_SHORTEST_TOKEN,
        )


def is_local(host: str) -> bool:
    """Whether only this machine reaches a server on ``host``."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
