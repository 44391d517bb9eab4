"""What is sent, and what is read out of answers: against servers' own parsers where there are."""

from __future__ import annotations

import email.parser
import email.policy
import json

import numpy as np
import pytest

from benchmarks.serving.connection import Reply
from benchmarks.serving.forms import FORMS, request_bytes
from runtime.decode import decode
from runtime.errors import ConfigError, EngineError
from runtime.gateway.serve.tensors import TensorSpec, parse_question
from runtime.manifest import Manifest
from runtime.preprocess import decode_image, fit
from tests.artifacts import TinyNetwork, write_artifact
from tests.serving import jpeg

CROP = jpeg(np.arange(20 * 50 * 3, dtype=np.uint8).reshape(20, 50, 3))


@pytest.fixture(scope="module")
def manifest(network: TinyNetwork, tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Of an artifact whose engine nobody loads."""
    return write_artifact(tmp_path_factory.mktemp("forms") / "artifact", network)


def test_a_request_is_what_was_asked_for() -> None:
    raw = request_bytes("http://gate:8080/v1/read?deadline_ms=9", b"abc", {"X-One": "1"})
    assert raw == (
        b"POST /v1/read?deadline_ms=9 HTTP/1.1\r\nHost: gate:8080\r\nContent-Length: 3\r\n"
        b"X-One: 1\r\n\r\nabc"
    )


def test_uploads_are_multipart() -> None:
    body, headers = FORMS["upload"].body(CROP, None)
    head = f"Content-Type: {headers['Content-Type']}\r\n\r\n".encode()
    (part,) = (
        email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body).iter_parts()
    )
    assert part.get_param("name", header="content-disposition") == "file"
    assert part.get_payload(decode=True) == CROP


def test_kserve_bodies_are_what_the_gateway_parses(manifest: Manifest) -> None:
    shape = (-1, *manifest.input.shape)
    for form, spec in (
        ("kserve-jpeg", TensorSpec("image", "BYTES", (-1,))),
        ("kserve-pixels", TensorSpec("image", "UINT8", shape)),
    ):
        body, headers = FORMS[form].body(CROP, manifest)
        length = int(headers["Inference-Header-Content-Length"])
        question = parse_question(body, length, spec, ["a", "b"], max_batch=1)
        assert [output.binary for output in question.outputs] == [True, True]
        if form == "kserve-jpeg":
            assert question.values == [CROP]
        else:
            expected = fit(decode_image(CROP, ""), manifest.input)
            np.testing.assert_array_equal(np.asarray(question.values)[0], expected)


def test_texts_of_json_are_those_without_question_marks() -> None:
    ours = {"text": "A?1", "readings": {"plate": {"text": "A?1", "raw_text": "AB1"}}}
    for answer, text in ((ours, "AB1"), ({"text": "京1"}, "京1")):
        body = json.dumps(answer).encode()
        assert FORMS["jpeg"].text(Reply(b"", body), None) == text
        header = {
            "outputs": [{"name": "answer", "parameters": {"binary_data_size": 4 + len(body)}}]
        }
        head = json.dumps(header).encode()
        reply = Reply(
            b"HTTP/1.1 200 OK\r\ninference-header-content-length: %d\r\n" % len(head),
            head + len(body).to_bytes(4, "little") + body,
        )
        assert FORMS["kserve-jpeg"].text(reply, None) == text


def test_logits_are_decoded_as_the_reader_does(manifest: Manifest, network: TinyNetwork) -> None:
    image = fit(decode_image(CROP, ""), manifest.input)
    scores = network.logits(image[None])
    expected = decode(manifest.schema, scores, manifest.operating).readings["code"].raw_texts[0]
    parts = [scores[head.name].astype("<f4").tobytes() for head in manifest.schema.heads]
    assert FORMS["pixels"].text(Reply(b"", b"".join(parts)), manifest) == expected
    names = [head.name for head in manifest.schema.heads]
    # Outputs may come in any order.
    outputs = [
        {"name": name, "parameters": {"binary_data_size": len(part)}}
        for name, part in zip(names[::-1], parts[::-1], strict=True)
    ]
    head = json.dumps({"outputs": outputs}).encode()
    reply = Reply(
        b"HTTP/1.1 200 OK\r\nInference-Header-Content-Length: %d\r\n" % len(head),
        head + b"".join(parts[::-1]),
    )
    assert FORMS["kserve-pixels"].text(reply, manifest) == expected
    with pytest.raises(EngineError, match="logits, got"):
        FORMS["pixels"].text(Reply(b"", b"".join(parts[1:])), manifest)
    with pytest.raises(EngineError, match="has no Inference-Header"):
        FORMS["kserve-pixels"].text(Reply(b"HTTP/1.1 200 OK\r\n", reply.body), manifest)


def test_pixels_need_the_artifact() -> None:
    for name in ("pixels", "kserve-pixels"):
        with pytest.raises(ConfigError, match="--artifact"):
            FORMS[name].body(CROP, None)
