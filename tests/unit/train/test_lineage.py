"""What a step writes down about itself."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from tests.slimming import tiny_config
from train.lineage import digests_named, lineage_entry, plain, sources_named


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


def test_what_steps_were_given_is_found_by_name() -> None:
    lineage = {
        "fit": {"config": {"data": ["/a/x.tsv"]}, "inputs": {"data": "1"}},
        "slim": {"config": {"data": ["/a/../a/x.tsv", "/b"]}, "inputs": {"data": "2", "seed": 3}},
        "of another version": {"config": {"data": "/c"}, "inputs": []},
        "edited": "by hand",
    }
    assert sources_named(lineage, "data") == {Path("/a/x.tsv").resolve(), Path("/b").resolve()}
    assert digests_named(lineage, "data") == {"1", "2"}
    assert sources_named(lineage, "validation") == digests_named(lineage, "seed") == frozenset()
