"""Endpoints and the gate before them, over real HTTP on a fake engine."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from typing import Any

import numpy as np
import pytest

from runtime.errors import ConfigError, EngineError
from runtime.gateway.serve.server import Server
from runtime.gateway.serve.view import LatestRead, VersionRow
from runtime.queue import QueueOptions
from tests.artifacts import SMALL_SCHEMA, TinyNetwork, random_images
from tests.serving import CAMERA, TOKEN, FakeView, ask, jpeg, serving, tiny_reader
from tests.sessions import FakeSession

MODEL = SMALL_SCHEMA.name
INFER = f"/v2/models/{MODEL}/infer"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture
def token(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a variable that holds the token."""
    monkeypatch.setenv("GATEWAY_TOKEN", TOKEN)
    return "GATEWAY_TOKEN"


def question(images: Any, **more: Any) -> bytes:
    data = images.ravel().tolist()
    entry = {"name": "image", "datatype": "UINT8", "shape": list(images.shape), "data": data}
    return json.dumps({"inputs": [entry], **more}).encode()


# ---- the KServe protocol ------------------------------------------------------------------------


def test_the_models_say_what_they_take_and_give(server: Server) -> None:
    status, _, scores = ask(server, "GET", f"/v2/models/{MODEL}")
    assert status == 200
    assert scores["inputs"] == [{"name": "image", "datatype": "UINT8", "shape": [-1, 16, 32, 3]}]
    assert scores["outputs"] == [
        {"name": head.name, "datatype": "FP32", "shape": [-1, head.size]}
        for head in SMALL_SCHEMA.heads
    ]
    _, _, answers = ask(server, "GET", f"/v2/models/{MODEL}-answers/versions/0")
    assert answers["inputs"] == [{"name": "image", "datatype": "BYTES", "shape": [-1]}]
    assert answers["outputs"] == [{"name": "answer", "datatype": "BYTES", "shape": [-1]}]


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [
        ("GET", "/v2/models/nope", 404, "no model 'nope'"),
        ("GET", f"/v2/models/{MODEL}/versions/9", 404, "in version '9'"),
        ("GET", f"/v2/models/{MODEL}/versions/x/ready", 404, "in version 'x'"),
        ("POST", "/v2/models/nope/infer", 404, "no model 'nope'"),
        ("GET", "/nothing", 404, "Not Found"),
        ("GET", INFER, 405, "Method Not Allowed"),
        ("POST", "/v1/reload", 404, "Not Found"),
        ("POST", INFER, 400, "not JSON"),
        ("POST", "/v1/read", 400, "expected a JPEG or PNG"),
        ("POST", "/v1/read?deadline_ms=soon", 400, "must be a number"),
        ("POST", "/v1/read?deadline_ms=nan", 400, "must be > 0"),
    ],
)
def test_errors_have_the_protocols_form(
    server: Server, method: str, path: str, status: int, text: str
) -> None:
    code, headers, content = ask(server, method, path)
    assert code == status
    assert headers["content-type"] == "application/json"
    assert [*content] == ["error"]
    assert text in content["error"]


def test_scores_are_the_networks(server: Server) -> None:
    images = random_images(6, seed=2)
    status, headers, answer = ask(server, "POST", INFER, question(images, id="x"))
    assert (status, answer["id"], answer["model_name"]) == (200, "x", MODEL)
    assert "inference-header-content-length" not in headers
    expected = TinyNetwork().logits(images)
    assert [output["name"] for output in answer["outputs"]] == [*expected]
    for output in answer["outputs"]:
        values = np.reshape(output["data"], output["shape"])
        np.testing.assert_allclose(values, expected[output["name"]], atol=1e-4)


def test_too_many_images_are_refused() -> None:
    with serving(max_batch=3) as server:
        status, _, content = ask(server, "POST", INFER, question(random_images(4)))
    assert (status, "1 to 3" in content["error"]) == (400, True)


def test_a_bad_picture_among_good_ones_is_named(server: Server) -> None:
    import struct

    tail = b"".join(struct.pack("<I", len(p)) + p for p in (jpeg(), b"no picture"))
    entry = {
        "name": "image",
        "datatype": "BYTES",
        "shape": [2],
        "parameters": {"binary_data_size": len(tail)},
    }
    text = json.dumps({"inputs": [entry]}).encode()
    headers = {"Inference-Header-Content-Length": str(len(text))}
    path = f"/v2/models/{MODEL}-answers/infer"
    status, _, content = ask(server, "POST", path, text + tail, headers)
    assert (status, content["error"][:11]) == (400, "element 1: ")
    for wrong in ("-1", "x", "9" * 12, "1e3"):
        headers = {"Inference-Header-Content-Length": wrong}
        assert ask(server, "POST", path, text + tail, headers)[0] == 400


def test_the_name_of_the_model_can_be_chosen() -> None:
    with serving(model="plates") as server:
        assert ask(server, "GET", "/v2/models/plates")[2]["name"] == "plates"
        assert ask(server, "GET", f"/v2/models/{MODEL}")[0] == 404


# ---- load, time, failures -----------------------------------------------------------------------


def test_a_deadline_is_kept_while_the_engine_hangs() -> None:
    session = FakeSession(TinyNetwork().logits)
    view = FakeView(tiny_reader(session))
    with serving(view) as server:
        session.gate.clear()
        status, _, content = ask(server, "POST", "/v1/read?deadline_ms=80", jpeg())
        assert (status, content["error"]) == (504, "not answered within 80 ms")
        body = question(random_images(2), parameters={"timeout": 50_000})
        assert ask(server, "POST", INFER, body)[0] == 504
        session.gate.set()
        assert ask(server, "POST", "/v1/read", jpeg())[0] == 200


def test_who_comes_when_all_places_are_taken_is_told_when_to_come_back() -> None:
    session = FakeSession(TinyNetwork().logits)
    view = FakeView(tiny_reader(session))
    with serving(view, max_in_flight=2) as server, ThreadPoolExecutor(2) as pool:
        session.gate.clear()
        session.entered.acquire()  # the warm-up's
        held = [pool.submit(ask, server, "POST", "/v1/read", jpeg()) for _ in range(2)]
        assert session.entered.acquire(timeout=10)
        wait_for(lambda: sum(session.batches) + view.reader.stats().waiting == 3)
        status, headers, content = ask(server, "POST", "/v1/read", jpeg())
        assert (status, headers["retry-after"]) == (503, "1")
        assert "2 requests are being answered" in content["error"]
        # Health and status are answered all the while.
        assert ask(server, "GET", "/v2/health/ready")[0] == 200
        assert ask(server, "GET", "/status.json")[0] == 200
        session.gate.set()
        assert [answer.result()[0] for answer in held] == [200, 200]


def wait_for(condition: Any) -> None:
    for _ in range(500):
        if condition():
            return
        threading.Event().wait(0.01)
    pytest.fail("it did not happen within 5 s")


def test_a_full_queue_is_overload() -> None:
    session = FakeSession(TinyNetwork().logits)
    queue = QueueOptions(capacity=1, on_full="drop_newest")
    view = FakeView(tiny_reader(session, queue=queue, max_batch=1))
    with serving(view) as server:
        session.gate.clear()
        status, headers, content = ask(server, "POST", INFER, question(random_images(8)))
        assert (status, headers["retry-after"]) == (503, "1")
        assert "dropped" in content["error"]
        session.gate.set()
        ready = ask(server, "GET", "/v2/health/ready")
    assert (ready[0], ready[2]["state"]) == (200, "overloaded")


def test_what_an_engine_says_stays_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    session = FakeSession(TinyNetwork().logits)
    with serving(FakeView(tiny_reader(session))) as server:

        def fail(_: Any) -> Any:
            raise EngineError("/secret/path broke")

        session.answer = fail
        for _ in range(3):
            status, _, content = ask(server, "POST", "/v1/read", jpeg())
            assert (status, content["error"]) == (500, "the gateway failed; its log says why")
        assert "/secret/path broke" in caplog.text
        status, _, health = ask(server, "GET", "/v2/health/ready")
        assert (status, health["ready"], health["state"]) == (503, False, "failed")
        assert ask(server, "GET", f"/v2/models/{MODEL}/ready")[0] == 503
        assert ask(server, "GET", "/v2/health/live")[0] == 200


def test_a_bug_is_a_plain_500(caplog: pytest.LogCaptureFixture) -> None:
    view = FakeView()
    with serving(view) as server:
        view.latest = lambda: 1 / 0  # type: ignore[method-assign, assignment, return-value]
        status, _, content = ask(server, "GET", "/status.json")
    assert (status, content) == (500, {"error": "the gateway failed; its log says why"})
    assert "ZeroDivisionError" in caplog.text


# ---- limits of bodies ---------------------------------------------------------------------------


def test_bodies_are_bounded() -> None:
    with serving(max_body_mb=0.05) as server:
        assert ask(server, "POST", "/v1/read", bytes(60_000))[0] == 413
        chunked = {"Transfer-Encoding": "chunked"}
        body = b"ea60\r\n" + bytes(60_000) + b"\r\n0\r\n\r\n"
        assert ask(server, "POST", "/v1/read", body, chunked)[0] == 413
        assert ask(server, "POST", "/v1/read", jpeg(), {"Content-Encoding": "gzip"})[0] == 415
        assert ask(server, "POST", "/v1/read", jpeg())[0] == 200


def test_uploads_that_break_off_hold_nothing() -> None:
    """All bodies together may hold 50 kB here; two that were forgotten would be too much."""
    head = b"POST /v1/read HTTP/1.1\r\nHost: localhost\r\nContent-Length: 45000\r\n\r\n"
    with serving(max_body_mb=0.05, max_in_flight=1) as server:
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
                connection.sendall(head + bytes(40_000))
                threading.Event().wait(0.1)
        assert ask(server, "POST", "/v1/read", bytes(40_000))[0] == 400
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
            connection.sendall(head + bytes(40_000))
            threading.Event().wait(0.1)
            status, headers, _ = ask(server, "POST", "/v1/read", bytes(40_000))
            assert (status, headers["retry-after"]) == (503, "1")


def test_large_pictures_in_small_files_are_refused() -> None:
    huge = jpeg(np.zeros((2000, 2000, 3), np.uint8), suffix=".png")
    with serving(max_picture_mpx=1) as server:
        status, _, content = ask(server, "POST", "/v1/read", huge)
    assert (status, "2000x2000" in content["error"]) == (400, True)


# ---- who may ask --------------------------------------------------------------------------------


def test_everything_with_data_needs_the_token(token: str) -> None:
    with serving(token_variable=token) as server:
        for path in ("/v2/health/live", "/v2/health/ready", "/", "/page.js", "/page.css"):
            assert ask(server, "GET", path)[0] == 200
        for path in ("/v2", "/status.json", "/metrics", "/status/pictures/x", "/nothing"):
            status, headers, content = ask(server, "GET", path)
            assert (status, headers["www-authenticate"]) == (401, "Bearer")
            assert "token" in content["error"]
        for given in (f"Bearer {TOKEN}x", f"Basic {TOKEN}", "Bearer", TOKEN, "Bearer é"):
            headers = {"Authorization": given.encode().decode("latin-1")}
            assert ask(server, "GET", "/v2", headers=headers)[0] == 401
        assert ask(server, "GET", "/v2", headers=BEARER)[0] == 200
        assert ask(server, "GET", "/v2", headers={"Authorization": f"bearer {TOKEN}"})[0] == 200
        # A name is no matter where there is a token.
        assert ask(server, "GET", "/v2", headers={**BEARER, "Host": "gateway:80"})[0] == 200


def test_metrics_may_be_open(token: str) -> None:
    with serving(token_variable=token, open_metrics=True) as server:
        assert ask(server, "GET", "/metrics")[0] == 200
        assert ask(server, "GET", "/status.json")[0] == 401


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:1", 200),
        ("localhost", 200),
        ("[::1]:8080", 200),
        ("evil.example", 421),
        ("localhost.evil.example:8080", 421),
        ("[::1", 421),
        ("\xff", 421),
    ],
)
def test_without_a_token_only_the_machines_own_names_are_answered(
    server: Server, host: str, status: int
) -> None:
    """A page of another site can point its own name at 127.0.0.1 (DNS rebinding)."""
    assert ask(server, "GET", "/status.json", headers={"Host": host})[0] == status


def test_every_answer_carries_the_headers_that_browsers_heed(server: Server) -> None:
    for path in ("/v2", "/nothing", "/", "/metrics"):
        _, headers, _ = ask(server, "GET", path)
        assert headers["x-content-type-options"] == "nosniff"
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert "server" not in headers


# ---- the page -----------------------------------------------------------------------------------

READ = LatestRead(
    camera="gate",
    time=datetime(2026, 11, 21, 12, 5, tzinfo=timezone.utc),
    text="苏E8D2K3",
    confidence=0.98,
    accepted=True,
    heads={"colour": "blue"},
    latency_ms=31.5,
    thumbnail=jpeg(),
)
NEW = VersionRow(name="plates-2", version=2, current=False, note="rolled back: slow")
OLD = VersionRow(name="plates-1", version=1, current=True)


def test_the_status_is_what_the_gateway_says() -> None:
    view = FakeView(reads=[READ], version_rows=[NEW, OLD])
    with serving(view) as server:
        _, headers, status = ask(server, "GET", "/status.json")
        (read,) = status["latest"]
        picture = ask(server, "GET", f"/status/pictures/{read.pop('picture')}")
        assert ask(server, "GET", "/status/pictures/0")[0] == 404
    assert headers["cache-control"] == "no-store"
    assert read == {
        "camera": "gate",
        "time": "2026-11-21T12:05:00+00:00",
        "text": "苏E8D2K3",
        "confidence": 0.98,
        "accepted": True,
        "heads": {"colour": "blue"},
        "latency_ms": 31.5,
    }
    assert (picture[0], picture[1]["content-type"], picture[2]) == (200, "image/jpeg", jpeg())
    assert status["cameras"][0]["age_s"] == CAMERA.age_s
    assert status["sinks"][0]["failing_since"] is None
    assert status["pipelines"][0]["events"] == 21
    assert status["versions"][0] == {
        "name": "plates-2",
        "version": 2,
        "current": False,
        "note": "rolled back: slow",
    }
    assert status["health"] == {"state": "ready", "reason": ""}
    assert status["may_reload"] is False


def test_the_page_can_be_left_out() -> None:
    with serving(status_page=False) as server:
        assert ask(server, "GET", "/")[0] == 404
        assert ask(server, "GET", "/status.json")[0] == 404
        assert ask(server, "GET", "/v2")[0] == 200


def reload(server: Server, name: Any, headers: dict[str, str]) -> tuple[int, Any]:
    body = json.dumps({"name": name}).encode()
    status, _, content = ask(server, "POST", "/v1/reload", body, headers)
    return status, content


def test_an_artifact_is_changed_with_the_token_only(token: str) -> None:
    view = FakeView(version_rows=[NEW, OLD])
    with serving(view, token_variable=token, allow_reload=True) as server:
        assert reload(server, "plates-2", {})[0] == 401
        assert ask(server, "GET", "/v1/reload", headers=BEARER)[0] == 405
        assert reload(server, "../etc", BEARER)[0] == 404
        assert reload(server, 3, BEARER)[0] == 400
        foreign = {**BEARER, "Origin": "http://evil.example"}
        assert reload(server, "plates-2", foreign)[0] == 403
        assert view.reloaded == []
        same = {**BEARER, "Origin": server.url}
        assert reload(server, "plates-2", same) == (200, {"message": "plates-2 serves now"})
        assert view.reloaded == ["plates-2"]
        assert ask(server, "GET", "/status.json", headers=BEARER)[2]["may_reload"] is True


def test_a_refused_artifact_and_a_second_reload_are_told(token: str) -> None:
    entered, leave = threading.Event(), threading.Event()

    def refuse(name: str) -> str:
        entered.set()
        assert leave.wait(10)
        raise EngineError("golden vectors missed")

    view = FakeView(version_rows=[NEW, OLD], on_reload=refuse)
    with (
        serving(view, token_variable=token, allow_reload=True) as server,
        ThreadPoolExecutor(1) as pool,
    ):
        first = pool.submit(reload, server, "plates-2", BEARER)
        assert entered.wait(10)
        assert reload(server, "plates-2", BEARER)[0] == 409
        # It reads on meanwhile.
        assert ask(server, "POST", "/v1/read", jpeg(), BEARER)[0] == 200
        leave.set()
        status, content = first.result()
    assert status == 422
    assert "nothing changed: golden vectors missed" in content["error"]


# ---- starting and stopping ----------------------------------------------------------------------


def test_a_reader_without_scores_cannot_be_served() -> None:
    view = FakeView(tiny_reader(keep_scores=False))
    with pytest.raises(ConfigError, match="keep_scores"), serving(view):
        pass
    view.reader.close()


def test_a_reader_that_does_not_read_is_not_served() -> None:
    def fail(_: Any) -> Any:
        raise EngineError("no such device")

    view = FakeView(tiny_reader(FakeSession(fail)))
    with pytest.raises(EngineError, match="no such device"), serving(view):
        pass
    view.reader.close()


def test_a_port_that_is_taken_is_an_error(server: Server) -> None:
    from runtime.gateway.serve.options import ServeOptions

    view = FakeView()
    with pytest.raises(ConfigError, match=f"port {server.port}"):
        Server(view, ServeOptions(port=server.port)).start()
    view.reader.close()


def test_a_certificate_that_is_none_is_an_error(tmp_path: Any) -> None:
    from runtime.gateway.serve.options import ServeOptions

    file = tmp_path / "file.pem"
    file.write_text("no certificate")
    view = FakeView()
    with pytest.raises(ConfigError, match="certificate"):
        Server(view, ServeOptions(port=0, tls_certificate=str(file), tls_key=str(file)))
    view.reader.close()


def test_requests_that_came_are_answered_before_it_ends() -> None:
    before = {*threading.enumerate()}
    session = FakeSession(TinyNetwork().logits)
    view = FakeView(tiny_reader(session))
    with serving(view) as server, ThreadPoolExecutor(2) as pool:
        session.gate.clear()
        session.entered.acquire()
        asked = pool.submit(ask, server, "POST", "/v1/read", jpeg())
        assert session.entered.acquire(timeout=10)
        stopped = pool.submit(server.stop, 5.0)
        threading.Event().wait(0.2)
        session.gate.set()
        assert asked.result(timeout=10)[0] == 200
        stopped.result(timeout=10)
    with pytest.raises(ConnectionError):
        ask(server, "GET", "/v2")
    until_s = time.monotonic() + 5  # idle workers are told to end, and nobody waits for them
    while not {*threading.enumerate()} <= before and time.monotonic() < until_s:
        time.sleep(0.01)
    assert {*threading.enumerate()} <= before
