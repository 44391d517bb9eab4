from __future__ import annotations

import hashlib
import hmac
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from runtime.errors import ConfigError, DeliveryError, RejectedError
from runtime.gateway.events.webhook import Webhook, WebhookOptions

SECRET = b"0123456789abcdef0123"


class Server:
    """Takes POSTs and answers with the statuses that it was given."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.requests: list[tuple[str, dict[str, str], bytes]] = []

    @contextmanager
    def listen(self, context: ssl.SSLContext | None = None) -> Iterator[int]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                server.requests.append((self.path, dict(self.headers), body))
                self.send_response(server.statuses.pop(0) if server.statuses else 200)
                self.send_header("Content-Length", "0")
                self.send_header("Location", "http://127.0.0.1:1/elsewhere")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
            http.daemon_threads = True
            if context is not None:
                http.socket = context.wrap_socket(http.socket, server_side=True)
            thread = threading.Thread(target=http.serve_forever, args=(0.01,))
            thread.start()
            try:
                yield http.server_address[1]
            finally:
                http.shutdown()
                thread.join()


def hook(port: int, path: str = "/", scheme: str = "http", **options: Any) -> Webhook:
    url = f"{scheme}://127.0.0.1:{port}{path}"
    return Webhook(WebhookOptions(**{"url": url, "timeout_s": 2, **options}))


def test_signs_what_it_sends(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(SECRET + b"\n")
    (tmp_path / "authorization").write_text("Bearer abc")
    server = Server(204)
    with server.listen() as port:
        sink = hook(
            port,
            "/plates?token=t0ken",
            secret_file=str(tmp_path / "secret"),
            authorization_file=str(tmp_path / "authorization"),
        )
        sink.deliver("id-1", '{"text":"苏A12345"}'.encode())
        sink.close()
    ((path, headers, body),) = server.requests
    assert path == "/plates?token=t0ken"
    assert body == '{"text":"苏A12345"}'.encode()
    assert headers["X-Headlight-Event"] == "id-1"
    assert headers["Content-Type"] == "application/json"
    assert headers["Authorization"] == "Bearer abc"
    code = hmac.new(SECRET, body, hashlib.sha256).hexdigest()
    assert headers["X-Headlight-Signature"] == f"sha256={code}"


def test_no_signature_without_a_secret() -> None:
    server = Server()
    with server.listen() as port:
        sink = hook(port)
        sink.deliver("id", b"{}")
        sink.close()
    assert "X-Headlight-Signature" not in server.requests[0][1]


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_taken(status: int) -> None:
    with Server(status).listen() as port:
        sink = hook(port)
        sink.deliver("id", b"{}")
        sink.close()


@pytest.mark.parametrize(
    "status", [500, 502, 503, 504, 429, 408, 425, 301, 302, 307, 401, 403, 404]
)
def test_may_be_taken_later(status: int) -> None:
    server = Server(status, 200)
    with server.listen() as port:
        sink = hook(port)
        with pytest.raises(DeliveryError, match=str(status)) as caught:
            sink.deliver("id", b"{}")
        assert not isinstance(caught.value, RejectedError)
        sink.deliver("id", b"{}")
        sink.close()


@pytest.mark.parametrize("status", [400, 409, 410, 413, 415, 422])
def test_is_never_taken(status: int) -> None:
    server = Server(status)
    with server.listen() as port:
        sink = hook(port)
        with pytest.raises(RejectedError, match=str(status)):
            sink.deliver("id", b"{}")
        sink.close()
    assert len(server.requests) == 1  # a redirection is not followed


def test_a_server_that_is_down_or_silent(tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        sink = hook(port, "/secret-path?token=t0ken", timeout_s=0.1)
        with pytest.raises(DeliveryError, match="timed out") as late:
            sink.deliver("id", b"{}")
    with pytest.raises(DeliveryError, match="refused") as down:
        sink.deliver("id", b"{}")
    sink.close()
    for caught in (late, down):
        assert "t0ken" not in str(caught.value)
        assert "secret-path" not in str(caught.value)
        assert caught.value.__cause__ is None


def test_tls_servers_are_checked(certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    server = Server()
    with server.listen(context) as port:
        trusting = hook(port, scheme="https", ca_file=str(certificate / "cert.pem"))
        trusting.deliver("id", b"{}")
        trusting.close()
        strict = hook(port, scheme="https")
        with pytest.raises(DeliveryError, match="certificate verify failed"):
            strict.deliver("id", b"{}")
        strict.close()
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "options",
    [{"url": "ftp://host/x"}, {"url": "http:///x"}, {"url": "https://me:pw@host/x"},
     {"timeout_s": 0}, {"timeout_s": 61}, {"name": ""}],
)  # fmt: skip
def test_refuses_what_cannot_be(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        WebhookOptions(**{"url": "https://host/x", **options})
    assert "pw" not in str(caught.value)


def test_a_certificate_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "ca").write_text("nothing")
    with pytest.raises(ConfigError, match="ca_file"):
        hook(1, scheme="https", ca_file=str(tmp_path / "ca"))
