"""What the commands made and refused is not asked of them again."""

from __future__ import annotations

from pathlib import Path

import pytest

import compress.search.chain
from compress.search.chain import FULL, Chain
from compress.search.config import SearchConfig
from compress.search.exports import Exports
from compress.search.space import NetworkChoice
from runtime.errors import ParityError
from tests.slimming import tiny_config, tiny_network, write_checkpoint


def test_a_network_whose_int8_loses_too_much_is_quantised_once(
    config: SearchConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def refuse(settings: object) -> None:
        asked.append(settings)
        raise ParityError("keeps no budget")

    monkeypatch.setattr(compress.search.chain, "quantize", refuse)
    source = write_checkpoint(tmp_path / "source", tiny_network(), tiny_config())
    chain = Chain(config, source, FULL, Exports())
    for _ in ("onnx", "openvino"):
        with pytest.raises(ParityError, match="keeps no budget"):
            chain.quantised(NetworkChoice(1.0, 0.0))
    assert len(asked) == 1
