"""``python -m compress.peers`` and its curves, through their command lines."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from compress.peers.cli import main
from compress.peers.curves import main as draw_curves
from compress.peers.dependency_graph import cut_by
from compress.slim.cli import main as slim
from compress.slim.pruning import PruningGoal
from compress.slim.selection import Limits
from runtime.errors import ConfigError
from tests.slimming import tiny_config, tiny_network, write_checkpoint, write_lamps
from tests.unit.train.backbones.tiny import TINY, tiny_backbone_network
from train.checkpoint import load_checkpoint
from train.network import NetworkConfig, channel_plan

pytest.importorskip("torch_pruning", reason="torch-pruning is not installed")
pytestmark = pytest.mark.usefixtures("one_thread")


def arguments(place: Path, base: str, output: Path, *more: str) -> list[str]:
    return [
        str(place / base),
        *("--data", str(place / "train"), "--validation", str(place / "train")),
        *("--output", str(output), "--threads", "1", "--batch", "16", "--target-macs", "0.5"),
        *("--sparse-steps", "0", "--tune-steps", "4", *more),
    ]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of one seed: a network, slimmed by us and by torch-pruning."""
    folder = tmp_path_factory.mktemp("peers")
    write_checkpoint(folder / "base-s0", tiny_network(width=24), tiny_config(width=24))
    write_lamps(folder / "train", 32, seed=0)
    assert slim(arguments(folder, "base-s0", folder / "ours-s0")) == 0
    more = ("--pruner", "group-norm")
    assert main(arguments(folder, "base-s0", folder / "theirs-s0", *more)) == 0
    note(folder, {"base": 0.9, "ours": 0.875, "theirs": 0.91})
    return folder


def note(folder: Path, exact: Mapping[str, float]) -> None:
    """Write down what a study found; heads are right half of the time that all are wrong."""
    heads = {name: {"accuracy.head.side": (1 + value) / 2} for name, value in exact.items()}
    runs = [
        {
            "variant": name,
            "seed": 0,
            "lists": {"test": {"accuracy.exact": value, **heads[name]}},
        }
        for name, value in exact.items()
    ]
    record = {"title": "Lamps", "environment": {}, "runs": runs}
    (folder / "study.json").write_text(json.dumps(record), encoding="utf-8")


def test_a_peer_cuts_and_all_else_is_as_in_slim(study: Path) -> None:
    ours, theirs = load_checkpoint(study / "ours-s0"), load_checkpoint(study / "theirs-s0")
    assert list(theirs.lineage) == ["fit", "peer"]
    assert theirs.lineage["peer"]["config"]["pruner"] == "group-norm"
    assert theirs.lineage["peer"]["inputs"] == ours.lineage["slim"]["inputs"]
    found = theirs.metrics["slim"]
    assert found["after"]["macs"] <= 0.5 * found["before"]["macs"]
    assert found["after"]["parameters"] == sum(p.numel() for p in theirs.build().parameters())
    assert theirs.channels != ours.channels
    for name, (before, after) in found["widths"].items():
        assert theirs.channels is not None
        assert after == theirs.channels[name].outputs <= before


def test_the_curves_say_what_each_lost(study: Path, tmp_path: Path) -> None:
    output = tmp_path / "curves"
    assert draw_curves([str(study), "--output", str(output)]) == 0
    record = json.loads((output / "curves.json").read_text(encoding="utf-8"))
    lost = {each["method"]: each["points"]["test"] for each in record["networks"]}
    assert lost == pytest.approx({"headlight": -0.025, "group-norm": 0.01})
    heads = {each["method"]: each["head_points"]["test"] for each in record["networks"]}
    assert heads == pytest.approx({"headlight": -0.0125, "group-norm": 0.005})
    assert all(each["macs_gone"] >= 0.5 for each in record["networks"])
    assert (output / "curves.png").read_bytes().startswith(b"\x89PNG")
    told = (output / "curves.md").read_text(encoding="utf-8")
    assert "| 50% | headlight | 1 |" in " ".join(told.split())
    assert "-2.50" in told
    assert "+1.00" in told


def test_training_on_without_removal_is_what_the_others_compare_with(
    study: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "study"
    shutil.copytree(study, folder)
    start = load_checkpoint(folder / "base-s0").digest
    longer = folder / "longer-s0"
    write_checkpoint(longer, tiny_network(width=24, seed=5), tiny_config(width=24))
    written = json.loads((longer / "checkpoint.json").read_text(encoding="utf-8"))
    written["lineage"]["fit2"] = {"inputs": {"init": start}}
    (longer / "checkpoint.json").write_text(json.dumps(written), encoding="utf-8")
    note(folder, {"base": 0.9, "longer": 0.94, "ours": 0.875, "theirs": 0.91})
    assert draw_curves([str(folder), "--output", str(tmp_path / "curves")]) == 0
    record = json.loads((tmp_path / "curves" / "curves.json").read_text(encoding="utf-8"))
    lost = {each["method"]: each["points"]["test"] for each in record["networks"]}
    assert lost == pytest.approx({"headlight": -0.065, "group-norm": -0.03})


@pytest.mark.parametrize("pruner", ["bn-scale", "magnitude", "random"])
def test_every_pruner_reaches_the_share(study: Path, tmp_path: Path, pruner: str) -> None:
    output = tmp_path / "out"
    more = ("--pruner", pruner, "--tune-steps", "0", "--target", "0.6")
    words = [w for w in arguments(study, "base-s0", output) if w not in ("--target-macs", "0.5")]
    assert main([*words, *more]) == 0
    found = load_checkpoint(output).metrics["slim"]
    assert found["after"]["parameters"] <= 0.4 * found["before"]["parameters"]


def test_rounds_end_at_the_share_of_the_whole(study: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    more = ("--pruner", "magnitude", "--rounds", "3", "--round-to", "2")
    assert main(arguments(study, "base-s0", output, *more)) == 0
    found = load_checkpoint(output).metrics["slim"]
    assert 0.45 <= found["after"]["macs"] / found["before"]["macs"] <= 0.5


def test_a_share_out_of_reach_is_refused(study: Path) -> None:
    source = load_checkpoint(study / "base-s0")
    with pytest.raises(ConfigError, match=r"'magnitude' removes 0\.\d+ of the macs with --max-rat"):
        cut_by("magnitude", source.build(), source, goal(0.9, max_ratio=0.3))
    with pytest.raises(ConfigError, match="pruner 'best' of macs is unknown"):
        cut_by("best", source.build(), source, goal(0.5))
    with pytest.raises(ConfigError, match=r"and --min-channels 24, asked for 0\.800; lower"):
        cut_by("magnitude", source.build(), source, goal(0.8, min_channels=24))


def goal(share: float, *, local: bool = False, **limits: Any) -> PruningGoal:
    return PruningGoal(share=share, of="macs", local=local, limits=Limits(**limits))


def left(study: Path, wanted: PruningGoal) -> dict[str, float]:
    """Share of its channels that each layer of the backbone keeps."""
    source = load_checkpoint(study / "base-s0")
    network = source.build()
    after = channel_plan(cut_by("magnitude", network, source, wanted))
    return {
        name: after[name].outputs / before.outputs
        for name, before in channel_plan(network).items()
        if name.startswith("backbone")
    }


def test_the_least_number_of_channels_stays(study: Path) -> None:
    free, bound = (
        left(study, goal(0.5, round_to=1, min_channels=least))["backbone.stem.0"]
        for least in (1, 20)
    )
    assert free < 20 / 24 <= bound


def test_local_takes_the_same_share_of_every_group(study: Path) -> None:
    spread = {
        local: max(shares.values()) - min(shares.values())
        for local in (False, True)
        for shares in [left(study, goal(0.5, local=local, round_to=1))]
    }
    assert spread[True] < 0.05 < spread[False]


def test_what_torch_pruning_does_not_follow_is_told_before_any_training(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = NetworkConfig(backbone="mixnet", sizes=TINY["mixnet"])
    write_checkpoint(tmp_path / "mixnet", tiny_backbone_network("mixnet"), settings)
    more = ("--round-to", "1", "--min-channels", "1", "--sparse-steps", "4")
    words = arguments(study, "base-s0", tmp_path / "out", *more)
    words[0] = str(tmp_path / "mixnet")
    assert main(words) == 1
    told = capsys.readouterr().err
    assert "error: torch-pruning does not follow the layers of" in told
    assert "step 4" not in told


def test_a_latency_is_not_torch_prunings(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [w for w in arguments(study, "base-s0", tmp_path) if w not in ("--target-macs", "0.5")]
    assert main([*words, "--speedup", "2", "--engine", "openvino"]) == 1
    assert "cannot aim at a latency" in capsys.readouterr().err


def test_a_score_is_not_torch_prunings(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(study, "base-s0", tmp_path / "out", "--score", "gamma")) == 1
    assert "--score gamma is a rule of compress.slim" in capsys.readouterr().err


def test_a_folder_without_a_study_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert draw_curves([str(tmp_path), "--output", str(tmp_path / "out")]) == 1
    assert "expected the folder of a finished" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
