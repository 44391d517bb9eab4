"""Who may teach whom, and what a teacher is shown."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from compress.distill.teachers import Teacher, load_teachers
from runtime.errors import CheckpointError, ConfigError
from runtime.preprocess import InputSpec, fit
from runtime.schema import Head, HeadKind, Schema
from tests.slimming import SCHEMA, SPEC, random_crops, tiny_config, tiny_network, write_checkpoint
from train.checkpoint import Checkpoint

COLOUR, SIDE = SCHEMA.heads


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder = tmp_path_factory.mktemp("teacher") / "teacher"
    return write_checkpoint(folder, tiny_network(), tiny_config())


def schema(*heads: Head) -> Schema:
    return Schema(name="other", heads=heads)


def test_it_answers_the_students_heads_in_their_order(checkpoint: Checkpoint) -> None:
    images = random_crops(3)
    every = checkpoint.build()(images)
    teacher = Teacher(checkpoint, schema(SIDE, COLOUR), SPEC)
    found = teacher(images)
    assert list(found) == ["side", "colour"]
    assert teacher.places == [1, 0]
    assert all(torch.equal(found[name], every[name]) for name in found)
    assert list(Teacher(checkpoint, schema(SIDE), SPEC)(images)) == ["side"]
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


@pytest.mark.parametrize("spec", [InputSpec(height=40, width=80), InputSpec(height=8, width=24)])
def test_crops_of_another_size_are_resized_as_everywhere(
    checkpoint: Checkpoint, spec: InputSpec
) -> None:
    # Smooth pictures, of which every good resizing makes about the same.
    rows, columns = torch.meshgrid(
        torch.linspace(0, 150, spec.height), torch.linspace(0, 100, spec.width), indexing="ij"
    )
    image = torch.stack([rows, columns, rows + columns], 2).to(torch.uint8)
    found = Teacher(checkpoint, SCHEMA, spec)._resized(image[None])
    assert found.shape == (1, *SPEC.shape)
    assert found.dtype == torch.uint8
    expected = torch.from_numpy(fit(image.numpy(), SPEC)).float()
    assert (found[0].float() - expected).abs().max() <= 4


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (schema(Head(name="hue", kind=HeadKind.CHOICE, labels=("a", "b"))), "has no head 'hue'"),
        (
            schema(Head(name="side", kind=HeadKind.LABELS, labels=("left", "right"))),
            "its head 'side' is a choice head, the student's a labels one",
        ),
        (
            schema(Head(name="side", kind=HeadKind.CHOICE, labels=("left", "top"))),
            r"only the student has the labels \['top'\], only the teacher \['right'\]",
        ),
        (
            schema(Head(name="side", kind=HeadKind.CHOICE, labels=("right", "left"))),
            "head 'side' has its labels in another order",
        ),
    ],
)
def test_other_heads_are_refused_by_name(
    checkpoint: Checkpoint, wanted: Schema, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        Teacher(checkpoint, wanted, SPEC)


def test_weights_of_heads_do_not_tell_heads_apart(checkpoint: Checkpoint) -> None:
    Teacher(checkpoint, schema(replace(SIDE, loss_weight=3.0)), SPEC)


def test_another_way_of_resizing_is_refused(checkpoint: Checkpoint) -> None:
    with pytest.raises(ConfigError, match="16x32 px by 'stretch', the student is to have 16x32 px"):
        Teacher(checkpoint, SCHEMA, replace(SPEC, resize="letterbox"))
    boxed = replace(checkpoint, input=replace(SPEC, resize="letterbox"))
    Teacher(boxed, SCHEMA, InputSpec(height=32, width=64, resize="letterbox"))
    with pytest.raises(ConfigError, match="with letterbox, the same shape"):
        Teacher(boxed, SCHEMA, InputSpec(height=32, width=32, resize="letterbox"))


def test_enlarged_crops_are_told(
    checkpoint: Checkpoint, capsys: pytest.CaptureFixture[str]
) -> None:
    load_teachers([checkpoint.folder], SCHEMA, InputSpec(height=8, width=16))
    assert (
        "was trained for 16x32 px and sees the student's crops of 8x16" in capsys.readouterr().err
    )
    load_teachers([checkpoint.folder], SCHEMA, SPEC)
    assert not capsys.readouterr().err
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_teachers([Path("nowhere")], SCHEMA, SPEC)
