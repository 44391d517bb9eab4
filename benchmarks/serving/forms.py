"""The forms in which servers take a crop, and how a plate's text is found in their answers.

================ ==============================================================================
``jpeg``         the file as the body; JSON out, with ``readings`` as ours or with ``text``
``upload``       the file as ``multipart/form-data``, field ``file``; JSON out
``pixels``       uint8 at the network's size as the body; float32 of all heads out, as bytes
``kserve-jpeg``  KServe v2, the file as the one element of a BYTES tensor, binary both ways
``kserve-pixels`` KServe v2, a UINT8 tensor at the network's size, binary both ways
================ ==============================================================================
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import numpy as np

from runtime.arrays import Floats
from runtime.decode import decode
from runtime.errors import ConfigError, EngineError
from runtime.kserve import BINARY_SIZE, HEADER_LENGTH
from runtime.manifest import Manifest
from runtime.preprocess import decode_image, fit
from runtime.schema import INPUT_NAME

from .connection import Reply

__all__ = ["FORMS", "Form", "request_bytes"]

_JSON_BYTES: Final = re.compile(rf"(?i)\r\n{HEADER_LENGTH}: *(\d+)\r".encode())
_BOUNDARY: Final = "headlight-crop"


class Form(NamedTuple):
    """How a crop is sent, and an answer read."""

    body: Callable[[bytes, Manifest | None], tuple[bytes, Mapping[str, str]]]
    """From a JPEG file's content to the body and its headers."""
    text: Callable[[Reply, Manifest | None], str]
    """From an answer to the text that it gives, sure of every letter or not."""
    needs_manifest: bool = False
    """Whether the size of the input and the heads must be known."""


def request_bytes(url: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    """Return a POST request as it goes over the wire."""
    parts = urlsplit(url)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    lines = [f"POST {target} HTTP/1.1", f"Host: {parts.netloc}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def _jpeg(data: bytes, _: Manifest | None) -> tuple[bytes, Mapping[str, str]]:
    return data, {"Content-Type": "image/jpeg"}


def _upload(data: bytes, _: Manifest | None) -> tuple[bytes, Mapping[str, str]]:
    head = (
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="crop.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    )
    body = head.encode() + data + f"\r\n--{_BOUNDARY}--\r\n".encode()
    return body, {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"}


def _pixels(data: bytes, manifest: Manifest | None) -> tuple[bytes, Mapping[str, str]]:
    content = fit(decode_image(data, "a crop"), _known(manifest).input).tobytes()
    return content, {"Content-Type": "application/octet-stream"}


def _kserve_jpeg(data: bytes, _: Manifest | None) -> tuple[bytes, Mapping[str, str]]:
    return _inference("BYTES", [1], len(data).to_bytes(4, "little") + data)


def _kserve_pixels(data: bytes, manifest: Manifest | None) -> tuple[bytes, Mapping[str, str]]:
    content, _ = _pixels(data, manifest)
    return _inference("UINT8", [1, *_known(manifest).input.shape], content)


def _inference(datatype: str, shape: list[int], content: bytes) -> tuple[bytes, Mapping[str, str]]:
    tensor = {
        "name": INPUT_NAME,
        "datatype": datatype,
        "shape": shape,
        "parameters": {BINARY_SIZE: len(content)},
    }
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    return head + content, {
        "Content-Type": "application/octet-stream",
        HEADER_LENGTH: str(len(head)),
    }


def _json_text(reply: Reply, _: Manifest | None) -> str:
    return _text_of(json.loads(reply.body))


def _text_of(answer: Mapping[str, Any]) -> str:
    for reading in answer.get("readings", {}).values():
        return str(reading["raw_text"])
    return str(answer["text"])


def _logits_text(reply: Reply, manifest: Manifest | None) -> str:
    known = _known(manifest)
    row = np.frombuffer(reply.body, "<f4")
    sizes = [head.size for head in known.schema.heads]
    if len(row) != sum(sizes):
        raise EngineError(f"expected {sum(sizes)} logits, got {len(row)}")
    parts = np.split(row[None], np.cumsum(sizes)[:-1], axis=1)
    return _decoded(dict(zip((h.name for h in known.schema.heads), parts, strict=True)), known)


def _kserve_parts(reply: Reply) -> Mapping[str, bytes]:
    """Return outputs by name; all are binary."""
    length = _JSON_BYTES.search(reply.head)
    if length is None:
        raise EngineError(f"the answer has no {HEADER_LENGTH}: {reply.head!r:.300}")
    place = int(length[1])
    parts = {}
    for output in json.loads(reply.body[:place])["outputs"]:
        size = output["parameters"][BINARY_SIZE]
        parts[output["name"]] = reply.body[place : place + size]
        place += size
    return parts


def _kserve_json_text(reply: Reply, _: Manifest | None) -> str:
    (content,) = _kserve_parts(reply).values()
    return _text_of(json.loads(content[4:]))


def _kserve_logits_text(reply: Reply, manifest: Manifest | None) -> str:
    parts = _kserve_parts(reply)
    scores = {name: np.frombuffer(part, "<f4")[None] for name, part in parts.items()}
    return _decoded(scores, _known(manifest))


def _decoded(scores: Mapping[str, Floats], manifest: Manifest) -> str:
    decoded = decode(manifest.schema, scores, manifest.operating)
    return next(iter(decoded.readings.values())).raw_texts[0]


def _known(manifest: Manifest | None) -> Manifest:
    if manifest is None:
        raise ConfigError("forms with pixels need --artifact, for the input's size and the heads")
    return manifest


FORMS: Final[Mapping[str, Form]] = {
    "jpeg": Form(_jpeg, _json_text),
    "upload": Form(_upload, _json_text),
    "pixels": Form(_pixels, _logits_text, needs_manifest=True),
    "kserve-jpeg": Form(_kserve_jpeg, _kserve_json_text),
    "kserve-pixels": Form(_kserve_pixels, _kserve_logits_text, needs_manifest=True),
}
