"""What is refused before OpenVINO sees it."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.errors import EngineError
from runtime.session_openvino import _refuse_entities


@pytest.mark.parametrize("name", ["model.xml", "model.XML", "model.ir", "model"])
def test_document_types_are_refused_whatever_the_file_is_called(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    for text in (b'<?xml version="1.0"?><!DOCTYPE net [<!ENTITY a "ha">]><net/>', b"<\0n\0e\0t\0"):
        path.write_bytes(text)
        with pytest.raises(EngineError, match="document type or entities"):
            _refuse_entities(path)
    path.write_bytes(b'<?xml version="1.0"?><net/>')
    _refuse_entities(path)


def test_onnx_is_no_xml(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"\0<!DOCTYPE")
    _refuse_entities(tmp_path / "model.onnx")
