"""An HTTP server that answers what a test says, and where it says so by processes and headers."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = ["peer", "plate"]


@contextmanager
def peer(answer: Callable[[str, bytes, Any], bytes], *, status: int = 200) -> Iterator[str]:
    """Serve until the block ends; ``answer`` is given path, body and headers. Yields the URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            content = answer(self.path, body, self.headers)
            self.send_response(status)
            self.send_header("content-LENGTH", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Nobody listens."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def plate(text: str) -> bytes:
    """Return an answer as most servers give it."""
    return json.dumps({"text": text}).encode()
