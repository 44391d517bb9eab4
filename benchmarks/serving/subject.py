"""The servers that are compared, and the crops to which all of them answer the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

from runtime.errors import ConfigError, EngineError
from runtime.manifest import Manifest

from .connection import Connection, Reply
from .forms import FORMS, request_bytes

__all__ = ["Server", "Subject", "agreed"]


@dataclass(frozen=True, slots=True)
class Server:
    """An endpoint, as the command line names it."""

    name: str
    form: str
    """One of ``FORMS``."""
    url: str

    @classmethod
    def parse(cls, text: str) -> Server:
        """Parse ``NAME=FORM:URL``.

        Raises:
            ConfigError: it is written otherwise, or the form is unknown.
        """
        name, named, rest = text.partition("=")
        form, _, url = rest.partition(":")
        if not (name and named and url.startswith("http://")) or form not in FORMS:
            raise ConfigError(
                f"expected NAME=FORM:URL such as ours=jpeg:http://127.0.0.1:8080/v1/read with a "
                f"form of {sorted(FORMS)}, got {text!r}"
            )
        return cls(name, form, url)


@dataclass(frozen=True, slots=True)
class Subject:
    """A server with its requests and the answers to expect."""

    server: Server
    requests: Sequence[bytes]
    """One per crop."""
    texts: Sequence[str]
    """One per crop."""
    pid: int | None
    manifest: Manifest | None

    def check(self, place: int, reply: Reply) -> None:
        """Compare an answer with what is known.

        Raises:
            EngineError: it is another.
        """
        text = FORMS[self.server.form].text(reply, self.manifest)
        if text != self.texts[place]:
            raise EngineError(
                f"{self.server.name}: crop {place} was answered {text!r} within the timed run and "
                f"{self.texts[place]!r} before it; the run is void"
            )


def agreed(
    servers: Sequence[Server],
    crops: Sequence[bytes],
    *,
    pids: Mapping[str, int],
    headers: Mapping[str, str],
    manifest: Manifest | None,
) -> Sequence[Subject]:
    """Ask every server every crop once, and keep the crops to which all answer the same text.

    Args:
        servers: At least one.
        crops: JPEG files.
        pids: Of the servers' processes, by name; those that are known.
        headers: Sent with every request.
        manifest: Of the artifact that they serve, where a form needs it.

    Raises:
        ConfigError: a form needs the manifest, or fewer than half of the crops are answered alike.
        EngineError: a server does not answer.
    """
    asked = {server.name: _requests(server, crops, headers, manifest) for server in servers}
    said = {server.name: _texts(server, asked[server.name], manifest) for server in servers}
    rows = [*zip(*said.values(), strict=True)]
    kept = [place for place, texts in enumerate(rows) if len(set(texts)) == 1]
    if 2 * len(kept) < len(crops):
        raise ConfigError(
            f"{len(kept)} of {len(crops)} crops are answered alike by {[*said]}; do they serve the "
            "same artifact?"
        )
    texts = [rows[place][0] for place in kept]
    return [
        Subject(
            server,
            [asked[server.name][place] for place in kept],
            texts,
            pids.get(server.name),
            manifest,
        )
        for server in servers
    ]


def _requests(
    server: Server,
    crops: Sequence[bytes],
    headers: Mapping[str, str],
    manifest: Manifest | None,
) -> Sequence[bytes]:
    body_of = FORMS[server.form].body
    found = []
    for crop in crops:
        body, own = body_of(crop, manifest)
        found.append(request_bytes(server.url, body, {**own, **headers}))
    return found


def _texts(server: Server, requests: Sequence[bytes], manifest: Manifest | None) -> Sequence[str]:
    text_of = FORMS[server.form].text
    with closing(Connection(server.url)) as connection:
        return [text_of(connection.exchange(request), manifest) for request in requests]
