"""Steps of a chain, and the words of their commands."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tyro

from compress.distill.cli import DistillConfig
from compress.distill.distillation import DistillationConfig
from compress.quantize.cli import QuantizeConfig
from compress.quantize.qat import QatConfig
from compress.replay.steps import STEPS, read_steps
from compress.slim.config import SlimConfig
from runtime.errors import CheckpointError
from tests.slimming import tiny_config, tiny_network, write_checkpoint
from tests.training import lamps_config, quick_loop
from train.augment import AugmentConfig
from train.checkpoint import Checkpoint
from train.lineage import lineage_entry, plain
from train.recorded import from_plain

GIVEN: dict[str, Any] = {
    "checkpoint": Path("c"),
    "data": (Path("a"), Path("b c")),
    "validation": (Path("v"),),
    "calibration": (Path("d"),),
    "output": Path("o"),
    "schema": "us-plate",
    "teacher": (Path("t"),),
}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    """Trained with an augmentation of its own."""
    made = write_checkpoint(tmp_path / "made", tiny_network(), tiny_config())
    loop = quick_loop(augment=AugmentConfig(colour=0.125))
    config = lamps_config(tmp_path, tmp_path / "fit", loop=loop)
    entry = json.loads(json.dumps(lineage_entry(config, {"data": "0"})))
    return replace(made, lineage={"fit": entry})


@pytest.mark.parametrize("name", sorted(STEPS))
def test_a_record_of_every_kind_of_step_can_be_read(name: str, checkpoint: Checkpoint) -> None:
    kind = STEPS[name]()
    fields = {field.name for field in dataclasses.fields(kind.config)}
    assert {"output", "overwrite", "validation", kind.start} <= fields
    config = kind.config(**{key: value for key, value in GIVEN.items() if key in fields})
    assert from_plain(kind.config, json.loads(json.dumps(plain(config))), name) == config
    entry = json.loads(json.dumps(lineage_entry(config, {"validation": "0"})))
    steps = read_steps(replace(checkpoint, lineage={**checkpoint.lineage, f"{name}3": entry}))
    assert [step.name for step in steps] == ["fit", f"{name}3"]
    assert (steps[1].config, steps[1].inputs) == (config, {"validation": "0"})
    assert steps[1].teachers == ((Path("t"),) if "teacher" in fields else ())
    assert steps[0].start is None
    words = kind.words(config, checkpoint)
    assert words[words.index("--output") + 1] == "o"


def test_a_training_in_int8_has_its_data_and_teachers_below(checkpoint: Checkpoint) -> None:
    given = {name: GIVEN[name] for name in ("checkpoint", "calibration", "validation", "output")}
    config = QuantizeConfig(
        **given, qat=QatConfig(steps=1, data=(Path("a"),), teacher=(Path("t"),))
    )
    entry = json.loads(json.dumps(lineage_entry(config, {})))
    (step,) = read_steps(replace(checkpoint, lineage={"quantize": entry}))
    assert (step.teachers, step.training.data) == ((Path("t"),), (Path("a"),))
    changed = step.changed(teachers=(Path("new"),), output=Path("there"))
    assert (changed.qat.teacher, changed.output) == ((Path("new"),), Path("there"))
    assert changed == replace(
        config, output=Path("there"), qat=replace(config.qat, teacher=(Path("new"),))
    )


def test_a_record_older_than_an_option_did_without_it(checkpoint: Checkpoint) -> None:
    given = {name: GIVEN[name] for name in ("checkpoint", "calibration", "validation", "output")}
    entry = json.loads(json.dumps(lineage_entry(QuantizeConfig(**given), {})))
    assert entry["config"].pop("max_flips") == 0.01
    (step,) = read_steps(replace(checkpoint, lineage={"quantize": entry}))
    assert step.config == QuantizeConfig(**given, max_flips=1.0)


@pytest.mark.parametrize("steps", [0, 1])
def test_a_training_in_int8_takes_over_what_slimming_does(
    checkpoint: Checkpoint, steps: int
) -> None:
    given = {name: GIVEN[name] for name in ("checkpoint", "calibration", "validation", "output")}
    augment = AugmentConfig(colour=0.125) if steps else AugmentConfig()
    qat = QatConfig(steps=steps, data=(Path("a"),), augment=augment)
    line = STEPS["quantize"]().words(QuantizeConfig(**given, qat=qat), checkpoint)
    training = [*(["--qat.steps", "1"] if steps else []), "--qat.data", "a"]
    assert line == [
        *("c", "--calibration", "d", "--validation", "v", "--output", "o"),
        *training,
    ]


def test_what_slimming_takes_over_from_the_training_takes_no_words(checkpoint: Checkpoint) -> None:
    words = STEPS["slim"]().words
    config = SlimConfig(
        **{name: GIVEN[name] for name in ("checkpoint", "data", "validation", "output")},
        augment=AugmentConfig(colour=0.125),
        distill=DistillationConfig(weights={"side": 0.25}),
        target_macs=0.5,
    )
    line = words(config, checkpoint)
    assert line == [
        *("c", "--data", "a", "b c", "--validation", "v", "--output", "o"),
        *("--target-macs", "0.5", "--distill.weights", "side=0.25"),
    ]
    unknown = words(config, replace(checkpoint, lineage={}))
    assert "--augment.colour" in unknown
    assert tyro.cli(SlimConfig, args=unknown) == config


def test_a_student_is_a_recipe_or_a_checkpoint(checkpoint: Checkpoint) -> None:
    words = STEPS["distill"]().words
    given = {name: GIVEN[name] for name in ("data", "validation", "output", "teacher")}
    fresh = words(DistillConfig(**given, imgsz=(64, 128)), checkpoint)
    assert fresh[0] == "us-plate"
    start = DistillConfig(**given, init=Path("c"), imgsz=(16, 32), network=tiny_config())
    line = words(
        replace(start, loop=replace(start.loop, augment=AugmentConfig(colour=0.125))), checkpoint
    )
    assert line == [
        *("c", "--data", "a", "b c", "--validation", "v", "--output", "o", "--teacher", "t"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("lineage", "message"),
    [
        ({"glue": {}}, r"step 'glue' is of a command that cannot be repeated; \['fit'"),
        ({"fit": {}}, "step 'fit' has no record of its options and inputs"),
        ({"fit": 3}, "step 'fit' has no record"),
        ({"fit": {"config": 3, "inputs": {}}}, "expected a JSON object, got int"),
        ({"fit": {"config": {}, "inputs": []}}, "keys .* are missing"),
    ],
)
def test_other_records_are_refused(
    checkpoint: Checkpoint, lineage: dict[str, Any], message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        read_steps(replace(checkpoint, lineage=lineage))
