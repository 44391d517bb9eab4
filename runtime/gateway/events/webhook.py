"""Events as POST requests to a server of the user's.

Each request carries ``X-Headlight-Event``, the event's id, by which the server tells what it has
already, and, where a secret is set, ``X-Headlight-Signature: sha256=HEX``, the HMAC-SHA256 (RFC
2104) of the body, by which it tells that nobody else sent it.
"""

from __future__ import annotations

import hashlib
import hmac
import ssl
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from runtime.errors import ConfigError, DeliveryError, EngineError, RejectedError
from runtime.gateway.secrets import read_secret
from runtime.http_client import HttpClient

__all__ = ["Webhook", "WebhookOptions", "signature"]

_LARGEST_ANSWER_BYTES: Final = 1 << 20
_REFUSED: Final = frozenset({400, 409, 410, 413, 415, 422})
"""What a server says of an event. All else is of the address, the rights or the server (401, 404, a
redirect), which somebody mends while events wait."""
"""Statuses below 500 of a server that may take the same request later."""
_SHORTEST_SECRET: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookOptions:
    """A server that takes events.

    Raises:
        ConfigError: a URL or timeout that cannot work.
    """

    url: str = field(repr=False)
    """``https://host/path``; query and path may hold a token, and are never shown. TLS servers
    must have a certificate that the system, or ``ca_file``, trusts."""
    name: str = "webhook"
    """Of the sink."""
    timeout_s: float = 5.0
    """For connecting, for sending, and for the answer, in (0, 60], s."""
    secret_variable: str = ""
    """Environment variable with the key of the signature, at least 16 bytes."""
    secret_file: str = ""
    """File with that key instead."""
    authorization_file: str = ""
    """File with the value of the ``Authorization`` header, such as ``Bearer ...``."""
    ca_file: str = ""
    """Certificates (PEM) to trust instead of the system's."""

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
            raise ConfigError(
                "a webhook's url must be http or https with a host and without a user (use "
                f"authorization_file), got scheme {parts.scheme!r} and host {parts.hostname!r}"
            )
        if not self.name or not 0 < self.timeout_s <= 60:
            raise ConfigError(
                f"a webhook needs a name and timeout_s in (0, 60], got {self.name!r} and "
                f"{self.timeout_s}"
            )


class Webhook:
    """Sends one event per request, over a connection that is kept.

    Raises:
        ConfigError: a secret or certificate that cannot be read.
    """

    def __init__(self, options: WebhookOptions) -> None:
        self.name = options.name
        parts = urlsplit(options.url)
        self._place = f"{parts.scheme}://{parts.hostname}"
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._secret = read_secret(
            f"the secret of {self.name}",
            variable=options.secret_variable,
            file=options.secret_file,
            least=_SHORTEST_SECRET,
        )
        headers = {"Content-Type": "application/json"}
        authorization = read_secret(
            f"the authorization of {self.name}", file=options.authorization_file
        )
        if authorization is not None:
            headers["Authorization"] = authorization.decode("latin-1")
        self._client = HttpClient(
            f"{parts.scheme}://{parts.netloc}",
            options.timeout_s,
            headers,
            context=_context(options.ca_file) if parts.scheme == "https" else None,
        )

    def deliver(self, event_id: str, payload: bytes) -> None:
        """Send an event.

        Raises:
            RejectedError: the server refuses this event (400, 409, 410, 413, 415, 422).
            DeliveryError: no answer, or one that promises nothing.
        """
        headers = {"X-Headlight-Event": event_id}
        if self._secret is not None:
            headers["X-Headlight-Signature"] = signature(self._secret, payload)
        try:
            answer = self._client.exchange(
                "POST", self._path, payload, headers, limit=_LARGEST_ANSWER_BYTES
            )
        except EngineError as error:
            # Its own words name the path, which may be secret.
            cause = error.__cause__
            reason = (str(cause) or type(cause).__name__) if cause else "the connection was closed"
            raise DeliveryError(f"{self._place}: {reason}; is the server up?") from None
        if 200 <= answer.status < 300:
            return
        problem = f"{self._place}: status {answer.status}"
        if answer.status in _REFUSED:
            raise RejectedError(f"{problem}; the event is not sent again")
        raise DeliveryError(problem)

    def interrupt(self) -> None:
        """Close idle connections; a request that runs ends by its timeout."""
        self._client.close()

    def close(self) -> None:
        """Close all connections."""
        self._client.close()


def signature(secret: bytes, payload: bytes) -> str:
    """Return the value of ``X-Headlight-Signature``; compare with ``hmac.compare_digest``."""
    return "sha256=" + hmac.new(secret, payload, hashlib.sha256).hexdigest()


def _context(ca_file: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file or None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"ca_file {ca_file!r} cannot be used: {error}") from error
