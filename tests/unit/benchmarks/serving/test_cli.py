"""The command, against the real gateway server on a tiny network and a peer."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import cv2
import pytest

from benchmarks.serving.cli import ServingConfig, main
from runtime.errors import ConfigError
from runtime.preprocess import load_image
from tests.artifacts import SMALL_SCHEMA, TinyNetwork, random_images, write_artifact
from tests.serving import TOKEN, FakeView, serving, tiny_reader
from tests.unit.benchmarks.serving.fakes import peer, plate


@pytest.fixture
def crops(tmp_path: Path) -> Path:
    folder = tmp_path / "crops"
    folder.mkdir()
    for place, image in enumerate(random_images(6, seed=5)):
        cv2.imwrite(str(folder / f"{place}.jpg"), image)
    return folder


def test_the_gateway_in_three_forms_and_a_peer(
    crops: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_TOKEN", TOKEN)
    network = TinyNetwork()
    write_artifact(tmp_path / "artifact", network)
    reader = tiny_reader()
    known = {path.read_bytes(): load_image(path) for path in crops.iterdir()}
    asked: list[str | None] = []

    def answer(_: str, body: bytes, headers: Any) -> bytes:
        asked.append(headers["Authorization"])
        return plate(next(iter(reader.read(known[body]).readings.values())).raw_text)

    view = FakeView(reader)
    with serving(view, token_variable="GATEWAY_TOKEN") as server, peer(answer) as url:
        words = [
            f"read=jpeg:{server.url}/v1/read",
            f"answers=kserve-jpeg:{server.url}/v2/models/{SMALL_SCHEMA.name}-answers/infer",
            f"scores=kserve-pixels:{server.url}/v2/models/{SMALL_SCHEMA.name}/infer",
            f"peer=jpeg:{url}/read",
        ]
        code = main(
            [
                *words, "--pids", *[str(os.getpid())] * 4, "--crops", str(crops),
                "--artifact", str(tmp_path / "artifact"), "--token-variable", "GATEWAY_TOKEN",
                "--connections", "1", "2", "--rounds", "3", "--turn", "0.05", "--rates", "50",
                "--open-rounds", "2", "--block", "0.2", "--output", str(tmp_path / "out"),
            ]
        )  # fmt: skip
    said = capsys.readouterr()
    assert code == 0, said.err
    assert set(asked) == {f"Bearer {TOKEN}"}
    assert "Closed loop, 2 connections" in said.out
    assert "CPU of read" in said.out
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["crops"] == {"alike": 6, "asked": 6}
    one, two = result["closed_loop"]
    assert (one["connections"], two["connections"]) == (1, 2)
    assert [*one["servers"]] == ["read", "answers", "scores", "peer"]
    assert one["servers"]["read"]["of_first"]["value"] == 1
    for server_numbers in one["servers"].values():
        assert min(server_numbers["requests_per_s"]) > 0
        assert len(server_numbers["cpu_us_per_request"]) == 3
    (opened,) = result["open_loop"]
    assert opened["servers"]["peer"]["latency"]["queries"] == 20
    assert result["pss_mb"]["peer"] > 1
    assert (tmp_path / "out" / "report.md").is_file()


def test_what_cannot_be_measured_is_an_error(crops: Path, capsys: Any) -> None:
    two = ("a=jpeg:http://127.0.0.1:1/", "a=jpeg:http://127.0.0.1:1/")
    assert main([*two, "--crops", str(crops)]) == 1
    assert "different names" in capsys.readouterr().err
    for wrong in ({"pids": (1,)}, {"connections": (0,)}, {"rates": (0.0,)}, {"servers": ()}):
        with pytest.raises(ConfigError):
            ServingConfig(**{"servers": two, "crops": crops, **wrong})  # type: ignore[arg-type]
    words = [two[0], "--crops", str(crops), "--token-variable", "NOBODY_SET_THIS"]
    assert main(words) == 1
    assert "is not set" in capsys.readouterr().err
