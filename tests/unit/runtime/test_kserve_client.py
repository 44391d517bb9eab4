from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from export.sign import sign_artifact
from runtime import HeadlightError, Reader, Result
from runtime.decode import decode
from runtime.errors import ConfigError, EngineError, IntegrityError, SignatureError
from runtime.http_client import Answer
from runtime.kserve_client import KServeSession, connect
from runtime.manifest import Manifest
from runtime.scores import OperatingPoint
from tests.artifacts import SMALL_INPUT, SMALL_SCHEMA, TinyNetwork, random_images, write_artifact
from tests.kserve import KServe, Reply, serve
from tests.signing import make_keys

LENGTH = "Inference-Header-Content-Length"
POINT = OperatingPoint(temperatures={"first": 1.5}, answer_threshold=0.1)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory, network: TinyNetwork) -> Path:
    """What a client holds: no engine."""
    folder = tmp_path_factory.mktemp("client") / "plates"
    write_artifact(folder, network, operating=POINT)
    (folder / "model.onnx").unlink()
    return folder


@pytest.fixture
def server(network: TinyNetwork) -> Iterator[KServe]:
    with serve(network.logits, SMALL_INPUT) as model:
        yield model


@pytest.fixture
def session(server: KServe, artifact: Path) -> Iterator[KServeSession]:
    session = KServeSession(server.url, Manifest.load(artifact), model="tiny", timeout_s=3)
    yield session
    session.close()


@pytest.mark.parametrize("binary", [True, False])
def test_reader_answers_as_one_that_has_the_engine(
    server: KServe, artifact: Path, network: TinyNetwork, binary: bool
) -> None:
    server.binary = binary
    images = random_images(5, seed=3)
    expected = decode(SMALL_SCHEMA, network.logits(images), POINT)
    with connect(server.url, artifact, model="tiny", max_batch=2) as reader:
        results = reader.read_many([*images])
        assert reader.read(images[4]).text == expected.readings["code"].texts[4]
    assert [result.text for result in results if isinstance(result, Result)] == list(
        expected.readings["code"].texts
    )
    for result, confidence in zip(results, expected.confidence, strict=True):
        assert isinstance(result, Result)
        assert result.confidence == pytest.approx(confidence, rel=1e-5)
    golden = 3  # checked one by one
    assert server.batches == [1] * golden + [2, 2, 1, 1]


def test_scores_are_the_servers_bit_by_bit(session: KServeSession, network: TinyNetwork) -> None:
    images = random_images(7)
    scores = session.run(images)
    assert list(scores) == [head.name for head in SMALL_SCHEMA.heads]
    for name, values in network.logits(images).items():
        np.testing.assert_array_equal(scores[name], values)
        scores[name][0, 0] = 1  # the caller's own


def test_description_names_the_server(server: KServe, session: KServeSession) -> None:
    assert session.description["engine"] == "kserve: test server"
    assert session.description["version"] == "1.0"
    assert session.description["device"] == f"{server.url}/v2/models/tiny"


def test_version_prefix_and_headers_are_sent(server: KServe, artifact: Path) -> None:
    manifest = Manifest.load(artifact)
    token = {"Authorization": "Bearer x"}
    url = f"{server.url}/v2/.."  # any path; what matters is that it is kept
    with pytest.raises(EngineError, match="status 404"):
        KServeSession(url, manifest, model="tiny", headers=token)
    session = KServeSession(server.url + "/", manifest, model="tiny", version=1, headers=token)
    session.run(random_images(1))
    session.close()
    paths = [path for path, _ in server.requests]
    assert paths == [
        "/v2/../v2/models/tiny",
        "/v2/models/tiny/versions/1",
        "/v2",
        "/v2/models/tiny/versions/1/infer",
    ]
    assert all(headers["Authorization"] == "Bearer x" for _, headers in server.requests)


def test_a_server_of_one_fixed_batch_is_fed_padded(
    server: KServe, artifact: Path, network: TinyNetwork
) -> None:
    server.metadata["inputs"][0]["shape"][0] = 4
    session = KServeSession(server.url, Manifest.load(artifact), model="tiny")
    images = random_images(6)
    np.testing.assert_array_equal(session.run(images)["first"], network.logits(images)["first"])
    session.close()
    assert server.batches == [4, 4]


def test_another_network_fails_the_golden_vectors(artifact: Path) -> None:
    with (
        serve(TinyNetwork(seed=5).logits, SMALL_INPUT) as server,
        pytest.raises(EngineError, match="golden vectors"),
    ):
        connect(server.url, artifact, model="tiny")


def test_without_the_check_another_network_goes_unseen(artifact: Path) -> None:
    with serve(TinyNetwork(seed=5).logits, SMALL_INPUT) as server:
        connect(server.url, artifact, model="tiny", check_golden=False).close()


def test_foreign_golden_vectors_are_refused(server: KServe, artifact: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(artifact, tmp_path / "copy"))
    other = tmp_path / "other"
    write_artifact(other, TinyNetwork(seed=5))
    shutil.copy(other / "golden.npz", copy / "golden.npz")
    with pytest.raises(IntegrityError, match=r"golden\.npz was changed"):
        connect(server.url, copy, model="tiny")
    # A pipe would be waited for without end, and a link may lead anywhere.
    whole = (copy / "golden.npz").rename(tmp_path / "golden.npz")
    for harm in (None, os.mkfifo, lambda path: path.symlink_to(whole)):
        (copy / "golden.npz").unlink(missing_ok=True)
        if harm is not None:
            harm(copy / "golden.npz")
        with pytest.raises(IntegrityError, match="not a plain file"):
            connect(server.url, copy, model="tiny")


def test_a_signature_is_checked_without_the_engine(
    server: KServe, network: TinyNetwork, tmp_path: Path
) -> None:
    keys, folder = make_keys(tmp_path), tmp_path / "plates"
    write_artifact(folder, network)
    with pytest.raises(SignatureError, match="nobody signed"):
        connect(server.url, folder, model="tiny", verify=keys.public)
    sign_artifact(folder, keys.key)
    (folder / "model.onnx").unlink()
    connect(server.url, folder, model="tiny", verify=keys.public).close()
    text = (folder / "artifact.json").read_text(encoding="utf-8")
    (folder / "artifact.json").write_text(text + " ", encoding="utf-8")
    with pytest.raises(SignatureError, match="was changed"):
        connect(server.url, folder, model="tiny", verify=keys.public)


def _without_head(metadata: Any) -> None:
    metadata["outputs"].pop()


def _other_size(metadata: Any) -> None:
    metadata["outputs"][0]["shape"][1] += 1


def _floats(metadata: Any) -> None:
    metadata["inputs"][0]["datatype"] = "FP32"


def _extra_head(metadata: Any) -> None:
    metadata["outputs"].append({"name": "x", "datatype": "FP32", "shape": [-1, 1]})


@pytest.mark.parametrize("change", [_without_head, _other_size, _floats, _extra_head])
def test_another_model_is_refused(
    server: KServe, artifact: Path, change: Callable[[Any], None]
) -> None:
    change(server.metadata)
    with pytest.raises(EngineError, match="the graph's"):
        connect(server.url, artifact, model="tiny")


def test_an_unknown_model_is_an_error(server: KServe, artifact: Path) -> None:
    with pytest.raises(EngineError, match=r"status 404: .*nothing at /v2/models/a%2Fb"):
        connect(server.url, artifact, model="a/b")


def edit(change: Callable[[dict[str, Any]], object]) -> Callable[[Reply], Reply]:
    """Change the JSON part of an answer."""

    def reply(sent: Reply) -> Reply:
        status, headers, body = sent
        length = int(headers[LENGTH])
        value = json.loads(body[:length])
        change(value)
        header = json.dumps(value).encode()
        return status, {LENGTH: str(len(header))}, header + body[length:]

    return reply


WRONG: dict[str, Callable[[Reply], Reply]] = {
    "status 500": lambda sent: (500, {}, b'{"error": "out of\x07 memory"}'),
    "status 302": lambda sent: (302, {"Location": "http://127.0.0.1:1/"}, b""),
    "no JSON": lambda sent: (200, {}, b"<html>"),
    "no text": lambda sent: (200, {}, b"\xff\xfe"),
    "empty": lambda sent: (200, {}, b""),
    "a list": lambda sent: (200, {}, b"[]"),
    "no outputs": lambda sent: (200, {}, b"{}"),
    "bytes missing": lambda sent: (200, sent[1], sent[2][:-1]),
    "bytes too many": lambda sent: (200, sent[1], sent[2] + b"\0"),
    "header length no number": lambda sent: (200, {LENGTH: "-1"}, sent[2]),
    "header length endless": lambda sent: (200, {LENGTH: "9" * 5000}, sent[2]),
    "header length missing": lambda sent: (200, {}, sent[2]),
    "output renamed": edit(lambda v: v["outputs"][0].update(name="x")),
    "output twice": edit(lambda v: v["outputs"].append(v["outputs"][0])),
    "output missing": edit(lambda v: v["outputs"].pop(0)),
    "shape swapped": edit(lambda v: v["outputs"][0]["shape"].reverse()),
    "another batch": edit(lambda v: v["outputs"][0].update(shape=[9, 3])),
    "another type": edit(lambda v: v["outputs"][0].update(datatype="FP16")),
    "size a text": edit(lambda v: v["outputs"][0]["parameters"].update(binary_data_size="24")),
    "size too large": edit(lambda v: v["outputs"][0]["parameters"].update(binary_data_size=10**9)),
    "data too short": edit(lambda v: v["outputs"][0].update(parameters={}, data=[1.0])),
    "too large": lambda sent: (200, {}, b" " * (2 << 20)),
    "cut short": lambda sent: (200, {"Content-Length": "5000", "Connection": "close"}, sent[2]),
}  # fmt: skip


@pytest.mark.parametrize("reply", WRONG.values(), ids=WRONG)
def test_a_wrong_answer_is_an_engine_error_and_the_next_is_read(
    server: KServe, session: KServeSession, network: TinyNetwork, reply: Callable[[Reply], Reply]
) -> None:
    images = random_images(2)
    server.reply = reply
    with pytest.raises(EngineError) as caught:
        session.run(images)
    assert str(caught.value).isprintable()
    server.reply = lambda sent: sent
    np.testing.assert_array_equal(session.run(images)["third"], network.logits(images)["third"])


@given(data=st.data())
def test_a_changed_answer_is_an_error_or_scores(
    data: st.DataObject, whole: tuple[Reply, KServeSession]
) -> None:
    """No digest protects the tensors; everything around them is checked."""
    (_, headers, body), session = whole
    changed = bytearray(body)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.none() | st.integers(0, len(body)))
    answer = Answer(bytes(changed[:cut]), {name.lower(): headers[name] for name in headers})
    session._client = SimpleNamespace(request=lambda *_, **__: answer)  # type: ignore[assignment]
    try:
        scores = session.run(random_images(2))
    except EngineError:
        return
    assert {name: values.shape for name, values in scores.items()} == {
        head.name: (2, head.size) for head in SMALL_SCHEMA.heads
    }


@pytest.fixture(scope="module")
def whole(network: TinyNetwork, artifact: Path) -> tuple[Reply, KServeSession]:
    """A right answer to two images, and a session without a server."""
    replies: list[Reply] = []
    with serve(network.logits, SMALL_INPUT) as server:
        server.reply = lambda sent: replies.append(sent) or sent  # type: ignore[func-returns-value]
        session = KServeSession(server.url, Manifest.load(artifact), model="tiny")
        session.run(random_images(2))
        session.close()
    return replies[0], session


def test_a_nan_is_an_error_of_its_image_alone(server: KServe, artifact: Path) -> None:
    def poison(sent: Reply) -> Reply:
        status, headers, body = sent
        return status, headers, body[:-4] + np.float32("nan").tobytes()

    with connect(server.url, artifact, model="tiny") as reader:
        server.reply = poison
        answers = reader.read_many([*random_images(3)])
    assert [isinstance(answer, HeadlightError) for answer in answers] == [False, False, True]


def test_a_score_beyond_float32_is_an_error_of_its_image(server: KServe, artifact: Path) -> None:
    def enlarge(sent: Reply) -> Reply:
        value = json.loads(sent[2])
        value["outputs"][0]["data"][0] = 1e300
        return 200, {}, json.dumps(value).encode()

    with connect(server.url, artifact, model="tiny") as reader:
        server.binary, server.reply = False, enlarge
        answers = reader.read_many([*random_images(2)])
    assert [isinstance(answer, EngineError) for answer in answers] == [True, False]


def test_any_number_of_threads(server: KServe, artifact: Path, network: TinyNetwork) -> None:
    images = random_images(40, seed=8)
    session = KServeSession(server.url, Manifest.load(artifact), model="tiny")
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda i: session.run(images[i : i + 1]), range(40)))
    session.close()
    for i, scores in enumerate(found):
        expected = network.logits(images[i : i + 1])
        assert all(np.array_equal(scores[name], expected[name]) for name in expected)
    assert server.connections <= 9


def test_after_close_nothing_is_sent(server: KServe, artifact: Path) -> None:
    reader: Reader = connect(server.url, artifact, model="tiny")
    session = reader.session
    reader.close()
    before = len(server.requests)
    with pytest.raises(EngineError, match="closed"):
        session.run(random_images(1))
    assert len(server.requests) == before


def test_nobody_there(artifact: Path) -> None:
    with pytest.raises(EngineError, match=re.escape("is the server up?")):
        connect("http://127.0.0.1:1", artifact, model="tiny")


@pytest.mark.parametrize("options", [{"max_batch": 0}, {"timeout_s": float("nan")}])
def test_options_that_cannot_work(artifact: Path, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        connect("http://127.0.0.1:1", artifact, model="tiny", **options)
