"""The HTTP server with clients that others wrote, with ours, and with plain sockets."""

from __future__ import annotations

import http.client
import json
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime import Reader, Result
from runtime.errors import EngineError
from runtime.gateway.serve.options import ServeOptions
from runtime.gateway.serve.server import Server
from runtime.kserve_client import connect
from runtime.queue import QueueOptions
from tests.artifacts import SMALL_SCHEMA, TinyNetwork, random_images, write_artifact
from tests.engines import require
from tests.serving import TOKEN, FakeView, ask, jpeg, serving

MODEL = SMALL_SCHEMA.name
QUEUE = QueueOptions(capacity=64, on_full="drop_newest")


@pytest.fixture(scope="module")
def artifact(network: TinyNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    require("onnxruntime")
    folder = tmp_path_factory.mktemp("serve") / "artifact"
    write_artifact(folder, network)
    return folder


@pytest.fixture(scope="module")
def server(artifact: Path) -> Iterator[Server]:
    reader = Reader.open(artifact, queue=QUEUE, keep_scores=True)
    with serving(FakeView(reader)) as server:
        yield server


@pytest.fixture(scope="module")
def triton() -> Any:
    """The module ``tritonclient.http``, which needs gevent."""
    require("geventhttpclient")
    import tritonclient.http as module

    return module


def test_our_client_reads_as_with_the_engine_at_hand(server: Server, artifact: Path) -> None:
    images = [*random_images(19, seed=4)]
    with (
        Reader.open(artifact) as local,
        connect(server.url, artifact, model=MODEL, version=1, max_batch=8) as remote,
    ):
        assert remote.engine["engine"] == "kserve: headlight"
        for here, there in zip(local.read_many(images), remote.read_many(images), strict=True):
            assert isinstance(here, Result)
            assert isinstance(there, Result)
            assert (there.text, there.accepted) == (here.text, here.accepted)
            assert there.confidence == pytest.approx(here.confidence, abs=1e-5)


def test_our_client_is_refused_what_is_not_there(server: Server, artifact: Path) -> None:
    with pytest.raises(EngineError, match="404"):
        connect(server.url, artifact, model="other")
    with pytest.raises(EngineError, match="404"):
        connect(server.url, artifact, model=MODEL, version=2)


@pytest.mark.parametrize("binary", [True, False])
def test_tritons_client_gets_the_networks_scores(
    server: Server, network: TinyNetwork, triton: Any, binary: bool
) -> None:
    client = triton.InferenceServerClient(server.url.removeprefix("http://"))
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(MODEL)
    assert client.is_model_ready(MODEL, "1")
    assert not client.is_model_ready(MODEL, "7")
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    assert client.get_model_metadata(MODEL)["versions"] == ["1"]
    images = random_images(5, seed=1)
    tensor = triton.InferInput("image", images.shape, "UINT8")
    tensor.set_data_from_numpy(images, binary_data=binary)
    wanted = [triton.InferRequestedOutput(h, binary_data=binary) for h in ("colour", "first")]
    answer = client.infer(MODEL, [tensor], outputs=wanted, request_id="seven", timeout=5_000_000)
    response = answer.get_response()
    assert [output["name"] for output in response["outputs"]] == ["colour", "first"]
    assert (response["id"], response["model_version"]) == ("seven", "1")
    expected = network.logits(images)
    for head in ("colour", "first"):
        np.testing.assert_allclose(answer.as_numpy(head), expected[head], atol=1e-4)
    assert answer.as_numpy("second") is None
    client.close()


def test_tritons_client_sends_pictures(server: Server, artifact: Path, triton: Any) -> None:
    client = triton.InferenceServerClient(server.url.removeprefix("http://"))
    pictures = [jpeg(image, suffix=".png") for image in random_images(3, seed=8)]
    tensor = triton.InferInput("image", [3], "BYTES")
    tensor.set_data_from_numpy(np.array(pictures, object))
    answer = client.infer(f"{MODEL}-answers", [tensor]).as_numpy("answer")
    with Reader.open(artifact) as local:
        for text, image in zip(answer, random_images(3, seed=8), strict=True):
            said, result = json.loads(text), local.read(image)
            assert said["text"] == result.text
            assert said["accepted"] == result.accepted
            assert said["confidence"] == pytest.approx(result.confidence, abs=1e-5)
            assert said["heads"]["extras"]["labels"] == list(result.heads["extras"].labels)
            assert said["artifact"] == {"id": "small-onnx-fp32-test", "version": 1}
    client.close()


def test_tritons_client_understands_errors(server: Server, triton: Any) -> None:
    from tritonclient.utils import InferenceServerException

    client = triton.InferenceServerClient(server.url.removeprefix("http://"))
    tensor = triton.InferInput("image", [1, 8, 8, 3], "UINT8")
    tensor.set_data_from_numpy(np.zeros((1, 8, 8, 3), np.uint8))
    with pytest.raises(InferenceServerException, match=r"\[400\] input 'image' must be"):
        client.infer(MODEL, [tensor])
    with pytest.raises(InferenceServerException, match="no model 'nope'"):
        client.get_model_metadata("nope")
    client.close()


def test_many_clients_at_once_get_their_own_answers(server: Server, network: TinyNetwork) -> None:
    images = random_images(40, seed=11)
    expected = network.logits(images)["first"]
    header = {
        "inputs": [
            {
                "name": "image",
                "shape": [1, *images.shape[1:]],
                "datatype": "UINT8",
                "parameters": {"binary_data_size": images[0].size},
            }
        ],
        "outputs": [{"name": "first"}],
    }
    text = json.dumps(header).encode()
    headers = {"Inference-Header-Content-Length": str(len(text))}

    def one(index: int) -> Any:
        body = text + images[index].tobytes()
        status, _, answer = ask(server, "POST", f"/v2/models/{MODEL}/infer", body, headers)
        assert status == 200, answer
        return answer["outputs"][0]["data"]

    with ThreadPoolExecutor(8) as pool:
        np.testing.assert_allclose([*pool.map(one, range(40))], expected, atol=1e-4)


def test_curl_reads_a_picture(server: Server, tmp_path: Path) -> None:
    picture = tmp_path / "crop.jpg"
    picture.write_bytes(jpeg())
    command = [
        "curl", "-sS", "--data-binary", f"@{picture}", "-H", "Content-Type: image/jpeg",
        f"{server.url}/v1/read?deadline_ms=4000",
    ]  # fmt: skip
    try:
        said = subprocess.run(command, capture_output=True, check=True, timeout=20)
    except FileNotFoundError:
        pytest.skip("curl is not installed")
    assert set(json.loads(said.stdout)) >= {"text", "confidence", "accepted", "heads", "artifact"}


def test_a_reload_under_requests_loses_none(artifact: Path, tmp_path: Path) -> None:
    """Answers come from one artifact each, and name its version."""
    require("onnxruntime")
    other = TinyNetwork(seed=1)
    write_artifact(tmp_path / "other", other)
    reader = Reader.open(artifact, queue=QUEUE, keep_scores=True)
    image = random_images(1, seed=3)
    body = json.dumps(
        {
            "inputs": [
                {
                    "name": "image",
                    "shape": list(image.shape),
                    "datatype": "UINT8",
                    "data": image.ravel().tolist(),
                }
            ],
            "outputs": [{"name": "first"}],
        }
    ).encode()
    expected = [network.logits(image)["first"][0] for network in (TinyNetwork(), other)]
    seen: list[int] = []
    failed: list[Any] = []
    done = threading.Event()
    with serving(FakeView(reader)) as server:

        def keep_asking() -> None:
            while not done.is_set():
                status, _, answer = ask(server, "POST", f"/v2/models/{MODEL}/infer", body)
                if status != 200:
                    failed.append(answer)
                    continue
                scores = answer["outputs"][0]["data"]
                (which,) = [i for i in (0, 1) if np.allclose(scores, expected[i], atol=1e-4)]
                seen.append(which)

        threads = [threading.Thread(target=keep_asking) for _ in range(3)]
        for thread in threads:
            thread.start()
        time.sleep(0.3)
        reader.reload(tmp_path / "other", trial=False)
        time.sleep(0.3)
        done.set()
        for thread in threads:
            thread.join()
    assert not failed
    assert {0, 1} == set(seen)


def test_https_with_a_token(artifact: Path, tmp_path: Path, monkeypatch: Any) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = [
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
        "-nodes", "-keyout", str(key), "-out", str(certificate), "-days", "2",
        "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
    ]  # fmt: skip
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=60)
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    monkeypatch.setenv("GATEWAY_TOKEN", TOKEN)
    reader = Reader.open(artifact, queue=QUEUE, keep_scores=True)
    options = ServeOptions(
        port=0,
        token_variable="GATEWAY_TOKEN",
        tls_certificate=str(certificate),
        tls_key=str(key),
    )
    with Server(FakeView(reader), options) as server, reader:
        assert server.url.startswith("https://")
        context = ssl.create_default_context(cafile=str(certificate))
        connection = http.client.HTTPSConnection(
            "127.0.0.1", server.port, timeout=10, context=context
        )
        connection.request("GET", "/v2")
        assert connection.getresponse().status == 401
        connection.close()
        connection.request("GET", "/v2", headers={"Authorization": f"Bearer {TOKEN}"})
        assert connection.getresponse().status == 200
        connection.close()
