"""``python -m compress.slim`` on a tiny network and pictures of lamps, through its command line."""

from __future__ import annotations

import copy
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import benchmarks.scenarios.warming
import compress.slim.cli
import compress.slim.comparison
import train.loop
from benchmarks.scenarios import compare_interleaved
from compress.slim.cli import SlimConfig, main, slim
from compress.slim.groups import find_groups
from compress.slim.pruning import PruningGoal, smaller_network
from compress.slim.surgery import remove_channels
from tests.slimming import random_crops, tiny_config, tiny_network, write_checkpoint, write_lamps
from tests.unit.train.backbones.tiny import TINY, tiny_backbone_network
from train.augment import PHOTOS
from train.checkpoint import Checkpoint, load_checkpoint
from train.cost import count_parameters
from train.lineage import plain
from train.loop import LoopConfig
from train.mixing import MixingConfig
from train.network import Network, NetworkConfig, channel_plan
from train.scoring import score


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    short = partial(compare_interleaved, rounds=5, block_s=0.001)
    monkeypatch.setattr(compress.slim.comparison, "compare_interleaved", short)
    brief = partial(benchmarks.scenarios.warm_up, min_s=0.1, max_s=0.2)
    monkeypatch.setattr(benchmarks.scenarios.warming, "warm_up", brief)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("slim")
    write_checkpoint(folder / "base", tiny_network(), tiny_config())
    write_lamps(folder / "train", 96, seed=0)
    write_lamps(folder / "val", 48, seed=1)
    return folder


def arguments(place: Path, output: Path, *more: str) -> list[str]:
    return [
        str(place / "base"),
        *("--data", str(place / "train"), "--validation", str(place / "val")),
        *("--output", str(output), "--threads", "1", "--batch", "16", "--target", "0.6"),
        *("--sparse-steps", "8", "--tune-steps", "8", "--validate-every", "4", *more),
    ]


def test_a_slimmed_checkpoint_learns_and_is_whole(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "slim"
    steps = ("--sparse-steps", "30", "--tune-steps", "90", "--validate-every", "30", "--lr", "5e-3")
    assert main(arguments(place, output, *steps, "--sparsity", "1.0")) == 0
    base, slimmed = load_checkpoint(place / "base"), load_checkpoint(output)
    before, after = count_parameters(base.build()), count_parameters(slimmed.build())
    assert after <= 0.4 * before
    found = slimmed.metrics["slim"]
    assert (found["before"]["parameters"], found["after"]["parameters"]) == (before, after)
    assert slimmed.metrics["exact"] >= 0.9
    assert list(slimmed.lineage) == ["fit", "slim"]
    assert slimmed.lineage["slim"]["inputs"]["checkpoint"] == base.digest
    assert slimmed.operating.fitted_on is not None
    assert [row["step"] for row in found["scales"]] == [0, 30]
    for name in ("curves.png", "scales.png"):
        assert (output / name).read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    for word in ("parameters", "MACs", "latency", "exact", "colour", "benchmarks.latency"):
        assert word in printed
    assert not (tmp_path / "slim.run").exists()


_CHILD = """
import sys
from pathlib import Path
import numpy, torch
from tests.slimming import random_crops
from train.checkpoint import load_checkpoint
from train.scoring import score
torch.set_num_threads(1)
network = load_checkpoint(Path(sys.argv[1])).build()
assert "compress" not in sys.modules
numpy.savez(sys.argv[2], **score(network, random_crops(8).numpy()))
"""


def test_a_fresh_process_gives_the_same_bits(place: Path, tmp_path: Path) -> None:
    # What the command saw last, before it wrote: the logits that its operating point was fitted on.
    seen: dict[str, dict[str, np.ndarray]] = {}
    original = compress.slim.cli.save_checkpoint

    def keep(target: Path, network: torch.nn.Module, **more: object) -> object:
        seen["logits"] = score(network, random_crops(8).numpy())
        return original(target, network, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compress.slim.cli, "save_checkpoint", keep)
        assert main(arguments(place, tmp_path / "out")) == 0
    command = [sys.executable, "-c", _CHILD, str(tmp_path / "out"), str(tmp_path / "logits.npz")]
    subprocess.run(command, check=True, cwd=Path(__file__).parents[2])
    with np.load(tmp_path / "logits.npz") as fresh:
        for head, values in seen["logits"].items():
            np.testing.assert_array_equal(fresh[head], values)


@pytest.mark.parametrize("stop", [3, 8, 12], ids=["sparse", "between", "tune"])
def test_an_interrupted_run_ends_like_an_uninterrupted_one(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    assert main(arguments(place, tmp_path / "whole")) == 0
    calls = 0
    original = train.loop.learning_rate

    def interrupting(*values: object) -> float:
        nonlocal calls
        calls += 1
        if calls == stop:
            os.kill(os.getpid(), signal.SIGINT)
        return original(*values)

    monkeypatch.setattr(train.loop, "learning_rate", interrupting)
    first = main(arguments(place, tmp_path / "parts"))
    if stop != 8:  # the last step of a phase is not interrupted: there is nothing left to save
        assert first == 1
        assert (tmp_path / "parts.run").is_dir()
        assert not (tmp_path / "parts").exists()
        assert main(arguments(place, tmp_path / "parts")) == 0
    whole, parts = (
        load_file(tmp_path / name / "weights.safetensors") for name in ("whole", "parts")
    )
    assert whole.keys() == parts.keys()
    for name, value in whole.items():
        assert torch.equal(parts[name], value), name
    found = [load_checkpoint(tmp_path / name).metrics["slim"] for name in ("whole", "parts")]
    assert found[0]["scales"] == found[1]["scales"]


def test_training_goes_on_as_it_was_but_for_what_is_given(place: Path, tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "base", tiny_network(), tiny_config())
    file = tmp_path / "base" / "checkpoint.json"
    value = json.loads(file.read_text(encoding="utf-8"))
    loop = LoopConfig(augment=PHOTOS, mixing=MixingConfig(cutmix=1.0))
    value["lineage"]["fit"] = {"config": {"loop": plain(loop)}}
    file.write_text(json.dumps(value), encoding="utf-8")
    words = arguments(place, tmp_path / "out", "--sparse-steps", "0", "--tune-steps", "0")
    words[0] = str(tmp_path / "base")
    assert main([*words, "--augment.flip", "0.25"]) == 0
    found = load_checkpoint(tmp_path / "out").lineage["slim"]["config"]
    assert found["augment"] == plain(replace(PHOTOS, flip=0.25))
    assert found["mixing"] == plain(loop.mixing)
    assert found["loss"] == plain(LoopConfig().loss)


def test_slimming_twice_goes_on_and_phases_may_be_left_out(place: Path, tmp_path: Path) -> None:
    quick = ("--sparse-steps", "0", "--tune-steps", "0", "--round-to", "4", "--min-channels", "4")
    assert main(arguments(place, tmp_path / "once", *quick)) == 0
    again = arguments(place, tmp_path / "twice", *quick, "--target-macs", "0.3")
    again[0] = str(tmp_path / "once")
    assert main(again) == 0
    once, twice = load_checkpoint(tmp_path / "once"), load_checkpoint(tmp_path / "twice")
    assert list(twice.lineage) == ["fit", "slim", "slim2"]
    macs = [twice.metrics["slim"][side]["macs"] for side in ("before", "after")]
    assert macs[1] <= 0.7 * macs[0]
    assert macs[0] == once.metrics["slim"]["after"]["macs"]


def test_groups_that_share_a_layer_are_told_apart(place: Path, tmp_path: Path) -> None:
    settings = NetworkConfig(backbone="mixnet", sizes=TINY["mixnet"])
    write_checkpoint(tmp_path / "base", tiny_backbone_network("mixnet"), settings)
    few = ("--target", "0.2", "--round-to", "1", "--min-channels", "1", "--rounds", "2")
    steps = ("--sparse-steps", "1", "--tune-steps", "2", "--batch", "4")
    words = arguments(place, tmp_path / "out", *few, *steps)
    words[0] = str(tmp_path / "base")
    assert main(words) == 0
    slimmed = load_checkpoint(tmp_path / "out")
    widths = slimmed.metrics["slim"]["widths"]
    assert any(name.endswith("/2") for name in widths)
    layers: dict[str, list[int]] = {}
    for name, (before, after) in widths.items():
        assert after <= before
        layers.setdefault(name.partition("/")[0], []).append(after)
    assert slimmed.channels is not None
    for layer, kept in layers.items():
        assert sum(kept) == slimmed.channels[layer].outputs


def test_what_a_peer_cuts_is_told_by_layers(place: Path, tmp_path: Path) -> None:
    def cut(network: Network, source: Checkpoint, _: PruningGoal) -> Network:
        smaller, groups = copy.deepcopy(network), find_groups(network, source.input)
        remove_channels(smaller, groups, {group.name: [0] for group in groups})
        return smaller_network(source, smaller)

    settings = NetworkConfig(backbone="mixnet", sizes=TINY["mixnet"])
    write_checkpoint(tmp_path / "base", tiny_backbone_network("mixnet"), settings)
    config = SlimConfig(
        checkpoint=tmp_path / "base", data=(place / "train",), validation=(place / "val",),
        output=tmp_path / "out", target=0.1, round_to=1, min_channels=1, sparse_steps=0, batch=4,
        tune_steps=0, threads=1,
    )  # fmt: skip
    slimmed = slim(config, cut)
    assert slimmed.channels is not None
    whole = channel_plan(tiny_backbone_network("mixnet"))
    for layer, (before, after) in slimmed.metrics["slim"]["widths"].items():
        assert (before, after) == (whole[layer].outputs, slimmed.channels[layer].outputs)
        assert after < before


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--target", "1.0"), "must be in (0, 1), got 1.0"),
        (("--target", "nan"), "must be in (0, 1), got nan"),
        (("--target-macs", "0"), "must be in (0, 1), got 0.0"),
        (("--target", "0.99"), "largest reachable is 0."),
        (("--sparsity", "-1"), "--sparsity >= 0"),
        (("--data", "nowhere.tsv"), "nowhere.tsv"),
        (("--repeats", "1", "2"), "one repeat"),
    ],
)
def test_bad_options_fail_with_one_line(
    place: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    more: tuple[str, ...],
    message: str,
) -> None:
    assert main(arguments(place, tmp_path / "out", *more)) == 1
    assert f"{message}" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_data_of_another_schema_names_both(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_lamps(tmp_path / "other", 2, seed=2)
    (other / "labels.tsv").write_text("0.png\t苏E8D2K3\n", encoding="utf-8")
    assert main(arguments(place, tmp_path / "out", "--data", str(other))) == 1
    told = capsys.readouterr().err
    assert "苏E8D2K3" in told
    assert "answers the schema 'lamps' with the heads ['colour', 'side']" in told


def test_an_existing_output_is_kept(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").touch()
    assert main(arguments(place, tmp_path / "out")) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert (tmp_path / "out" / "precious").exists()


def test_an_unfinished_run_of_other_settings_is_refused(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupting(*_: object) -> float:
        os.kill(os.getpid(), signal.SIGINT)
        return 1e-3

    with monkeypatch.context() as patch:
        patch.setattr(train.loop, "learning_rate", interrupting)
        assert main(arguments(place, tmp_path / "out")) == 1
    assert main(arguments(place, tmp_path / "out", "--sparsity", "0.9")) == 1
    assert "unfinished run of other settings" in capsys.readouterr().err
