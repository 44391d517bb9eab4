"""Teachers: trained networks that are asked about the very crops that the student sees."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.command import say
from runtime.errors import ConfigError
from runtime.preprocess import InputSpec
from runtime.schema import Head, Schema
from train.checkpoint import Checkpoint, load_checkpoint

__all__ = ["Teacher", "load_teachers", "teacher_digests"]


class Teacher(nn.Module):
    """A trained network as seen by a student: its heads only, on crops of its input size.

    Args:
        checkpoint: Of the teacher; of a quantised one the float weights count.
        schema: What the student answers; the teacher may answer more.
        spec: The student's input.

    Raises:
        ConfigError: the teacher lacks heads of the student, or has others of the same name, or the
            crops cannot be brought to its input size.

    Attributes:
        checkpoint: As given.
        network: Evaluates; not to be trained.
    """

    def __init__(self, checkpoint: Checkpoint, schema: Schema, spec: InputSpec) -> None:
        super().__init__()
        _check_heads(checkpoint, schema)
        _check_input(checkpoint, spec)
        self.checkpoint = checkpoint
        self.network = checkpoint.build().requires_grad_(requires_grad=False)
        self._names = [head.name for head in schema.heads]
        own = checkpoint.input
        self._size = (own.height, own.width)
        self.eval()

    @property
    def places(self) -> Sequence[int]:
        """Where each head of the student stands among the teacher's heads."""
        own = [head.name for head in self.checkpoint.schema.heads]
        return [own.index(name) for name in self._names]

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(N, H, W, 3) uint8 at the student's size to the student's heads: (N, K) logits."""
        logits = self.network(self._resized(images))
        return {name: logits[name] for name in self._names}

    def _resized(self, images: Tensor) -> Tensor:
        if tuple(images.shape[1:3]) == self._size:
            return images
        planes = images.permute(0, 3, 1, 2).float()
        # Antialiasing is what area averaging is in ``runtime.preprocess``: weights over all pixels
        # that shrink into one.
        scaled = functional.interpolate(planes, self._size, mode="bilinear", antialias=True)
        return scaled.round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


def load_teachers(folders: Sequence[Path], schema: Schema, spec: InputSpec) -> tuple[Teacher, ...]:
    """Load checkpoints as teachers of a student.

    Raises:
        ConfigError: one does not suit the student.
        CheckpointError: one cannot be read.
    """
    teachers = tuple(Teacher(load_checkpoint(folder), schema, spec) for folder in folders)
    for teacher in teachers:
        own = teacher.checkpoint.input
        if own.height > spec.height or own.width > spec.width:
            say(
                f"{teacher.checkpoint.folder} was trained for {own.height}x{own.width} px and sees "
                f"the student's crops of {spec.height}x{spec.width} px enlarged"
            )
    return teachers


def teacher_digests(teachers: Sequence[Teacher]) -> dict[str, str]:
    """Return the digests of weights for a lineage: ``teacher``, ``teacher2`` and so on."""
    return {
        f"teacher{number}" if number > 1 else "teacher": teacher.checkpoint.digest
        for number, teacher in enumerate(teachers, start=1)
    }


def _check_heads(checkpoint: Checkpoint, schema: Schema) -> None:
    own = {head.name: head for head in checkpoint.schema.heads}
    differences = [
        difference for head in schema.heads if (difference := _difference(head, own.get(head.name)))
    ]
    if differences:
        raise ConfigError(
            f"{checkpoint.folder} cannot teach the schema {schema.name!r}: "
            f"{'; '.join(differences)}. A teacher needs every head of the student, with the same "
            f"labels in the same order; it has the heads {[*own]}"
        )


def _difference(wanted: Head, found: Head | None) -> str:
    """Return how a teacher's head differs from the student's; empty where it does not."""
    if found is None:
        return f"it has no head {wanted.name!r}"
    if found.kind is not wanted.kind:
        return f"its head {wanted.name!r} is a {found.kind} head, the student's a {wanted.kind} one"
    only_student = [label for label in wanted.labels if label not in found.labels]
    only_teacher = [label for label in found.labels if label not in wanted.labels]
    if only_student or only_teacher:
        return (
            f"head {wanted.name!r}: only the student has the labels {only_student[:20]}, only the "
            f"teacher {only_teacher[:20]}"
        )
    same = found.labels == wanted.labels
    return "" if same else f"head {wanted.name!r} has its labels in another order"


def _check_input(checkpoint: Checkpoint, spec: InputSpec) -> None:
    own = checkpoint.input
    same_shape = own.height * spec.width == own.width * spec.height
    # A stretched crop stays one at any size; a letterboxed one has its border where the shape
    # of the input puts it.
    if own.resize != spec.resize or (own.resize == "letterbox" and not same_shape):
        raise ConfigError(
            f"{checkpoint.folder} was trained on crops brought to {own.height}x{own.width} px by "
            f"{own.resize!r}, the student is to have {spec.height}x{spec.width} px by "
            f"{spec.resize!r}; both need the same rule and, with letterbox, the same shape"
        )
