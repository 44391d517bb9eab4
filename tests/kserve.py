"""A small KServe v2 server for tests, with the binary tensor data extension.

It answers as the protocol says, from a function on images, until a test changes ``metadata`` or
``reply``. It knows nothing of the client's code.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

from runtime.arrays import Images, Logits
from runtime.preprocess import InputSpec

__all__ = ["KServe", "Reply", "serve"]

Reply = tuple[int, Mapping[str, str], bytes]
"""Status, headers, body."""


class KServe:
    """One model, ``tiny``, behind HTTP on a free port."""

    def __init__(self, answer: Callable[[Images], Logits], spec: InputSpec) -> None:
        self.answer = answer
        probe = answer(np.zeros((1, *spec.shape), np.uint8))
        self.metadata: Any = {
            "name": "tiny",
            "versions": ["1"],
            "platform": "test",
            "inputs": [{"name": "image", "datatype": "UINT8", "shape": [-1, *spec.shape]}],
            "outputs": [
                {"name": name, "datatype": "FP32", "shape": [-1, scores.shape[1]]}
                # As some servers do, in another order than the network's.
                for name, scores in sorted(probe.items(), reverse=True)
            ],
        }
        self.binary = True
        """Whether it has the extension."""
        self.reply: Callable[[Reply], Reply] = lambda reply: reply
        """Called with what would be sent for an inference."""
        self.requests: list[tuple[str, Mapping[str, str]]] = []
        self.connections = 0
        self.batches: list[int] = []
        self.url = ""

    def get(self, path: str) -> Reply:
        if path == "/v2":
            return self._json({"name": "test server", "version": "1.0", "extensions": []})
        if path in ("/v2/models/tiny", "/v2/models/tiny/versions/1"):
            return self._json(self.metadata)
        return 404, {}, json.dumps({"error": f"nothing at {path}"}).encode()

    @staticmethod
    def _json(value: object) -> Reply:
        return 200, {"Content-Type": "application/json"}, json.dumps(value).encode()

    def infer(self, header_length: str | None, body: bytes) -> Reply:
        split = len(body) if header_length is None else int(header_length)
        question = json.loads(body[:split])
        (image,) = question["inputs"]
        assert image["name"] == "image"
        assert image["datatype"] == "UINT8"
        assert image["parameters"]["binary_data_size"] == len(body) - split
        images = np.frombuffer(body, np.uint8, offset=split).reshape(image["shape"])
        self.batches.append(len(images))
        scores = self.answer(images)
        outputs, tail = [], b""
        for wanted in reversed(question["outputs"]):
            values = scores[wanted["name"]]
            output: dict[str, Any] = {
                "name": wanted["name"], "datatype": "FP32", "shape": list(values.shape),
            }  # fmt: skip
            if self.binary and wanted["parameters"]["binary_data"]:
                output["parameters"] = {"binary_data_size": values.nbytes}
                tail += values.astype("<f4").tobytes()
            else:
                output["data"] = values.ravel().tolist()
            outputs.append(output)
        header = json.dumps({"model_name": "tiny", "outputs": outputs}).encode()
        length = {"Inference-Header-Content-Length": str(len(header))} if tail else {}
        return self.reply((200, length, header + tail))


@contextmanager
def serve(answer: Callable[[Images], Logits], spec: InputSpec) -> Iterator[KServe]:
    """Serve until the block ends."""
    model = KServe(answer, spec)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 5

        def setup(self) -> None:
            super().setup()
            model.connections += 1

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            self._send(model.get(self.path))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self._send(model.infer(self.headers.get("Inference-Header-Content-Length"), body))

        def _send(self, reply: Reply) -> None:
            model.requests.append((self.path, dict(self.headers)))
            status, headers, body = reply
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    model.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield model
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
