"""What a step writes down about itself."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from tests.slimming import tiny_config
from train.lineage import lineage_entry, plain


class Kind(Enum):
    FAST = "fast"


@dataclass
class Config:
    path: Path
    kind: Kind
    sizes: tuple[int, int]
    more: dict[str, Path]


def test_lineage_is_plain_json() -> None:
    config = Config(Path("a/b"), Kind.FAST, (1, 2), {"x": Path("c")})
    entry = lineage_entry(config, {"data": "0" * 64})
    assert json.loads(json.dumps(entry, allow_nan=False)) == entry
    assert entry["config"] == {
        "path": "a/b", "kind": "fast", "sizes": [1, 2], "more": {"x": "c"},
    }  # fmt: skip
    assert entry["inputs"] == {"data": "0" * 64}
    assert entry["environment"]["packages"]["torch"]
    assert plain(tiny_config())["sizes"]["last_stride"] == [2, 1]
