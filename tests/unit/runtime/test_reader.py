from __future__ import annotations

import pickle
import threading
from typing import Any

import numpy as np
import pytest

from runtime import HeadlightError, ImageError, Reader, Result
from runtime.arrays import Image, Images, Logits
from runtime.decode import decode
from runtime.errors import ConfigError, EngineError
from tests.artifacts import SMALL_SCHEMA, TinyNetwork, random_images
from tests.sessions import POINT, FakeSession, fake_reader


@pytest.fixture
def session(network: TinyNetwork) -> FakeSession:
    return FakeSession(network.logits)


@pytest.fixture
def reader(session: FakeSession) -> Reader:
    return fake_reader(session)


def crops(count: int) -> list[Image]:
    return list(random_images(count, seed=5))


def test_result_says_what_decode_says(reader: Reader, network: TinyNetwork) -> None:
    images = crops(6)
    decoded = decode(SMALL_SCHEMA, network.logits(np.stack(images)), POINT)
    for row, image in enumerate(images):
        result = reader.read(image)
        answers = decoded.readings["code"]
        assert result.text == answers.texts[row] == result.readings["code"].text
        assert result.readings["code"].raw_text == answers.raw_texts[row]
        assert result.confidence == pytest.approx(float(decoded.confidence[row]))
        assert result.accepted == bool(decoded.accepted[row])
        assert list(result.heads) == [head.name for head in SMALL_SCHEMA.heads]
        for name, choices in decoded.choices.items():
            answer = result.heads[name]
            assert answer.label == SMALL_SCHEMA.head(name).labels[choices[row]]
            assert answer.labels == (answer.label,)
            assert answer.confidence == pytest.approx(float(decoded.choice_confidence[name][row]))
            assert answer.accepted == bool(decoded.choice_accepted[name][row])
        extras = result.heads["extras"]
        labels = SMALL_SCHEMA.head("extras").labels
        assert extras.label is None
        assert extras.labels == tuple(
            label for label, on in zip(labels, decoded.labels["extras"][row], strict=True) if on
        )
        assert list(extras.probabilities) == list(labels)


def test_read_many_keeps_order_and_splits(reader: Reader, session: FakeSession) -> None:
    images = crops(10)
    single = [reader.read(image) for image in images]
    session.batches.clear()
    many = reader.read_many(images)
    assert session.batches == [4, 4, 2]
    for one, other in zip(single, many, strict=True):
        assert isinstance(other, Result)
        assert (one.text, one.accepted) == (other.text, other.accepted)
        assert one.confidence == pytest.approx(other.confidence)


def test_one_bad_image_is_one_error(reader: Reader, session: FakeSession) -> None:
    images: list[Any] = crops(6)
    images[1] = None
    images[2] = np.zeros((5, 5), np.uint8)
    answers = reader.read_many(images)
    assert [type(answer) for answer in answers] == [
        Result, ImageError, ImageError, Result, Result, Result,
    ]  # fmt: skip
    assert session.batches == [2, 2]
    good = [images[i] for i in (0, 3, 4, 5)]
    texts = [answer.text for answer in answers if isinstance(answer, Result)]
    assert texts == [reader.read(image).text for image in good]


def test_only_bad_images_call_no_engine(reader: Reader, session: FakeSession) -> None:
    assert all(isinstance(a, ImageError) for a in reader.read_many([None] * 5))  # type: ignore[list-item]
    assert session.batches == []
    assert reader.read_many([]) == []


def test_read_raises(reader: Reader) -> None:
    with pytest.raises(ImageError):
        reader.read(np.zeros((5, 5), np.uint8))


def test_scores_that_are_no_numbers_are_an_engine_error(
    reader: Reader, session: FakeSession, network: TinyNetwork
) -> None:
    def one_broken(images: Images) -> Logits:
        scores = network.logits(images)
        scores["colour"][-1, 0] = np.nan
        return scores

    session.answer = one_broken
    with pytest.raises(EngineError, match="colour"):
        reader.read(crops(1)[0])
    answers = reader.read_many(crops(4))
    assert [type(answer) for answer in answers] == [Result, Result, Result, EngineError]


def test_a_failed_call_does_not_fail_the_next(
    reader: Reader, session: FakeSession, network: TinyNetwork
) -> None:
    def second_fails(images: Images) -> Logits:
        if len(session.batches) == 2:
            raise EngineError("driver reset")
        return network.logits(images)

    session.answer = second_fails
    answers = reader.read_many([*crops(9), None])  # type: ignore[list-item]
    kinds = [type(answer) for answer in answers]
    assert kinds == [Result] * 4 + [EngineError] * 4 + [Result, ImageError]


def test_stats_add_up(reader: Reader, session: FakeSession) -> None:
    answers: list[Result | HeadlightError] = reader.read_many([*crops(5), None])  # type: ignore[list-item]
    session.answer = lambda _: (_ for _ in ()).throw(EngineError("gone"))
    with pytest.raises(EngineError):
        reader.read(crops(1)[0])
    stats = reader.stats()
    assert (stats.images, stats.answered, stats.bad_images, stats.engine_failures) == (7, 5, 1, 1)
    assert stats.accepted == sum(isinstance(a, Result) and a.accepted for a in answers)
    assert stats.engine_calls == 3
    assert min(stats.prepare_ns, stats.engine_ns, stats.decode_ns) > 0


def test_stats_from_many_threads_add_up(reader: Reader) -> None:
    image = crops(1)[0]
    workers = [
        threading.Thread(target=lambda: [reader.read(image) for _ in range(50)]) for _ in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert reader.stats().answered == 200


def test_closing(reader: Reader, session: FakeSession) -> None:
    with reader as same:
        assert same is reader
    reader.close()
    assert session.closed >= 1
    with pytest.raises(EngineError, match="closed"):
        reader.read(crops(1)[0])
    with pytest.raises(EngineError, match="closed"):
        reader.read_many([])
    assert reader.info.id == "fake"
    assert reader.engine == {"engine": "fake"}


def test_results_travel_between_processes(reader: Reader) -> None:
    result = reader.read(crops(1)[0])
    assert pickle.loads(pickle.dumps(result)) == result


def test_timings_are_those_of_the_whole_call(reader: Reader) -> None:
    first, second = reader.read_many(crops(2))
    assert isinstance(first, Result)
    assert isinstance(second, Result)
    assert first.timings_ns == second.timings_ns
    assert first.timings_ns.engine > 0


@pytest.mark.parametrize(
    "options", [{"max_batch": 0}, {"threads": 0}, {"max_batch": -1}, {"hint": "fast"}]
)
def test_options_that_cannot_work(options: dict[str, Any]) -> None:
    with pytest.raises((ConfigError, EngineError)):
        Reader.open("nowhere", **options)
