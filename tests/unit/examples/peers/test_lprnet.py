from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.labelled import encode_reading
from examples.peers.lprnet import CONTEXT, LPRNet, Vocabulary, spelled
from runtime.builtin_schemas import BUILTIN
from runtime.errors import DataError, SchemaError
from runtime.preprocess import InputSpec
from runtime.schema import Head, HeadKind, Schema

SCHEMA = BUILTIN["cn-plate"]()
VOCABULARY = Vocabulary.of(SCHEMA)


def targets(*texts: str) -> list[torch.Tensor]:
    encoded = [encode_reading(SCHEMA, SCHEMA.readings[0], text) for text in texts]
    return [torch.tensor([each[head] for each in encoded]) for head in VOCABULARY.heads]


def test_the_vocabulary_has_every_label_once_and_the_blank_last() -> None:
    # 31 provinces, 3 specials, 24 letters, 10 digits, 6 suffixes.
    assert len(VOCABULARY.labels) == 74 == len({*VOCABULARY.labels})
    assert VOCABULARY.blank == 74
    assert len(VOCABULARY) == 75
    assert "_" not in VOCABULARY.labels  # the reading's blank is no character


def test_texts_become_classes_without_gaps() -> None:
    texts = ["苏E8D2K3", "粤AD12345", "WJ1234567", "京A1234警"]
    classes, lengths = VOCABULARY.sequences(targets(*texts))
    assert lengths.tolist() == [7, 8, 8, 7]
    for row, length, text in zip(classes.tolist(), lengths.tolist(), texts, strict=True):
        assert "".join(VOCABULARY.labels[index] for index in row[:length]) == text
        assert row[length:] == [-1] * (8 - length)


def test_a_crop_without_text_is_refused() -> None:
    given_ = targets("苏E8D2K3")
    given_[0][0] = -1
    with pytest.raises(DataError, match="no text"):
        VOCABULARY.sequences(given_)


def test_a_schema_without_a_reading_has_no_vocabulary() -> None:
    head = Head(name="colour", kind=HeadKind.CHOICE, labels=("red", "blue"))
    with pytest.raises(SchemaError, match="0 readings"):
        Vocabulary.of(Schema(name="lamps", heads=(head,)))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=12))
def test_the_best_path_is_merged_and_blanks_are_dropped(path: list[int]) -> None:
    scores = np.eye(5)[path][None]  # class 4 is the blank
    kept = [c for i, c in enumerate(path) if c != 4 and (i == 0 or path[i - 1] != c)]
    assert spelled(scores, 4).tolist() == [kept + [-1] * (len(path) - len(kept))]


@pytest.fixture(scope="module")
def network() -> LPRNet:
    torch.manual_seed(0)
    network = LPRNet(10, dropout=0.0)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        network(torch.rand(4, 3, 24, 94))  # statistics as after a training
    return network.eval()


def test_a_plate_gives_88_steps(network: LPRNet) -> None:
    with torch.inference_mode():
        logits = network(torch.rand(3, 3, 24, 94))
    assert logits.shape == (3, 88, 10)  # 94 less 2 columns for each of 3 poolings


def test_weights_are_as_many_as_the_tables_have() -> None:
    def block(inputs: int, outputs: int) -> int:
        inner = outputs // 4
        return inputs * inner + 6 * inner * inner + inner * outputs

    convolutions = (
        27 * 64 + block(64, 128) + block(128, 256) + block(256, 256) + 4 * 256 * 256
        + 13 * 256 * 75
    )  # fmt: skip
    features = 64 + (3 * 32 + 128) + 2 * (3 * 64 + 256) + 256 + 75 + CONTEXT
    context = 88 * 75 * CONTEXT
    answer = (75 + CONTEXT) * 75 + 75
    found = sum(each.numel() for each in LPRNet(75).parameters())
    assert found == convolutions + 2 * features + context + answer


def test_every_step_sees_the_whole_plate(network: LPRNet) -> None:
    images = torch.rand(1, 3, 24, 94)
    changed = images.clone()
    changed[..., -8:] = 1 - changed[..., -8:]
    with torch.inference_mode():
        features = [network.backbone(each)[..., :40] for each in (images, changed)]
        logits = [network(each)[:, :40] for each in (images, changed)]
    assert torch.equal(*features)  # too far to the left to see it
    assert not torch.allclose(*logits)  # but for the global context


def test_another_height_is_refused() -> None:
    with pytest.raises(SchemaError, match="32x94"):
        LPRNet(10, InputSpec(height=32, width=94))
