"""Which servers, and on which crops they agree."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.serving.connection import Reply
from benchmarks.serving.subject import Server, Subject, agreed
from runtime.errors import ConfigError, EngineError
from tests.unit.benchmarks.serving.fakes import peer, plate


def test_servers_are_named_with_form_and_url() -> None:
    server = Server.parse("ours=kserve-jpeg:http://gate:8080/v2/models/plates-answers/infer")
    assert server == Server(
        "ours", "kserve-jpeg", "http://gate:8080/v2/models/plates-answers/infer"
    )
    for wrong in ("http://a/", "jpeg:http://a/", "a=http://a/", "a=png:http://a/", "=jpeg:http://a",
                  "a=jpeg:https://a/"):  # fmt: skip
        with pytest.raises(ConfigError, match="expected NAME=FORM:URL"):
            Server.parse(wrong)


def test_only_crops_that_all_answer_alike_are_kept() -> None:
    seen: list[Any] = []

    def first(path: str, body: bytes, headers: Any) -> bytes:
        seen.append((path, headers["Authorization"]))
        return plate(body.decode())

    def second(path: str, body: bytes, headers: Any) -> bytes:
        return plate("other" if body == b"B" else body.decode())

    with peer(first) as one, peer(second) as two:
        servers = [Server("one", "jpeg", f"{one}/x"), Server("two", "jpeg", f"{two}/y")]
        subjects = agreed(
            servers, [b"A", b"B", b"C"], pids={"two": 7}, headers={"Authorization": "Bearer t"},
            manifest=None,
        )  # fmt: skip
        assert [subject.texts for subject in subjects] == [["A", "C"]] * 2
        assert [subject.pid for subject in subjects] == [None, 7]
        assert [request[-1:] for request in subjects[0].requests] == [b"A", b"C"]
        assert seen == [("/x", "Bearer t")] * 3
        with pytest.raises(ConfigError, match="0 of 1 crops are answered alike"):
            agreed(servers, [b"B"], pids={}, headers={}, manifest=None)


def test_another_answer_voids_the_run() -> None:
    subject = Subject(Server("a", "jpeg", "http://a"), [b""], ["京A1"], None, None)
    subject.check(0, Reply(b"", plate("京A1")))
    with pytest.raises(EngineError, match=r"a: crop 0 was answered '京A2'.*void"):
        subject.check(0, Reply(b"", plate("京A2")))
