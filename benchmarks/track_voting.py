"""How much fusing the frames of a vehicle gains: ``python -m benchmarks.track_voting``.

Every labelled crop becomes a track of frames as a camera sees a passing vehicle: one smear of
motion, one light and one patch of dirt for all of them, and per frame its own distance, shift,
tilt, focus, noise and, now and then, something in between. Four ways to answer are compared: any
one frame, the frame with the highest confidence, the text that most frames read (ties by summed
confidence), and ``runtime.voting``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import cv2
import numpy as np
import numpy.typing as npt

from runtime.arrays import Image
from runtime.errors import ConfigError
from runtime.reader import Reader
from runtime.results import Result
from runtime.schema import Reading, Schema
from runtime.voting import TrackOptions

from .arguments import POSITIONAL
from .command import run_command, say
from .intervals import Share
from .labelled import LabelledCrops, read_labelled
from .report import show_table

__all__ = ["TrackVotingConfig", "best_frame", "main", "majority", "seen_frames"]

PROG: Final = "python -m benchmarks.track_voting"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackVotingConfig:
    """Options."""

    artifact: Annotated[Path, POSITIONAL]
    """Artifact folder whose schema has a reading."""
    data: Path
    """Labelled crops."""
    frames: tuple[int, ...] = (1, 2, 4, 8, 16)
    """Frames per track; shorter tracks are the first frames of longer ones."""
    severity: float = 1.0
    """How bad the pictures are, >= 0."""
    correlation: float = TrackOptions().correlation
    """See ``runtime.voting.TrackOptions``."""
    trust: float = TrackOptions().trust
    """See ``runtime.voting.TrackOptions``."""
    doubt: float = TrackOptions().doubt
    """See ``runtime.voting.TrackOptions``."""
    seed: int = 0
    """Of what happens to the pictures."""

    def __post_init__(self) -> None:
        if not self.frames or min(self.frames) < 1 or not 0 <= self.severity < 100:
            raise ConfigError(
                f"frames must be >= 1 and severity in [0, 100), got {self.frames} and "
                f"{self.severity}"
            )
        _ = self.options  # fails on what cannot be

    @property
    def options(self) -> TrackOptions:
        """How frames add up."""
        return TrackOptions(correlation=self.correlation, trust=self.trust, doubt=self.doubt)


Answer = tuple[str, float]
"""Text and confidence."""


def seen_frames(crop: Image, count: int, severity: float, seed: Sequence[int]) -> list[Image]:
    """Return a crop as a camera sees it ``count`` times while the vehicle passes.

    Args:
        crop: (H, W, 3) uint8.
        count: How many frames.
        severity: 0 leaves only the change of distance.
        seed: Two of the same are alike; a longer track begins with the shorter one.
    """
    random = np.random.default_rng(seed)
    height, width = crop.shape[:2]
    shared = _dirty(crop, random, severity)
    length = random.uniform(0.02, 0.09) * severity * width
    angle, light = random.uniform(-0.5, 0.5), 1 + random.uniform(-0.5, 0.2) * min(severity, 1.5)
    frames = []
    for _ in range(count):
        own = np.random.default_rng(random.integers(1 << 62))
        frame = _moved(shared, own, severity)
        frame = _smeared(frame, length * own.uniform(0.5, 1.5), angle)
        # A vehicle is seen from 40 to 100 % of the crop's size.
        scale = 1 - own.uniform(0, 0.6) * min(severity, 1.2)
        size = (max(24, round(width * scale)), max(8, round(height * scale)))
        small = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
        blurred = cv2.GaussianBlur(small, (0, 0), 0.1 + own.uniform(0, 0.9) * severity)
        noise = own.normal(0, own.uniform(1, 14) * severity, blurred.shape)
        frame = np.clip(blurred * light + noise, 0, 255).astype(np.uint8)
        if own.random() < 0.08 * severity:
            left = own.uniform(-0.2, 0.8)
            frame[:, max(0, round(left * size[0])) : round((left + 0.45) * size[0])] = 60
        frames.append(frame)
    return frames


def _dirty(crop: Image, random: np.random.Generator, severity: float) -> Image:
    height, width = crop.shape[:2]
    place = (round(random.uniform(0, width)), round(random.uniform(0, height)))
    axes = (max(1, round(0.05 * width * severity)), max(1, round(0.25 * height * severity)))
    mask = np.zeros((height, width, 1), np.float32)
    cv2.ellipse(mask, place, axes, 0, 0, 360, 0.7 * min(severity, 1.2), -1)
    return np.asarray(crop * (1 - mask) + 90 * mask, np.uint8)


def _moved(image: Image, random: np.random.Generator, severity: float) -> Image:
    height, width = image.shape[:2]
    corners = np.asarray([(0, 0), (width, 0), (width, height), (0, height)], np.float32)
    reach = np.asarray([0.03 * width, 0.08 * height]) * severity
    shift = random.uniform(-reach, reach) + random.uniform(-reach, reach, (4, 2)) / 2
    matrix = cv2.getPerspectiveTransform(corners, (corners + shift).astype(np.float32))
    return np.asarray(
        cv2.warpPerspective(image, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE),
        np.uint8,
    )


def _smeared(image: Image, length_px: float, angle: float) -> Image:
    """Blur along a line, as motion does."""
    side = 2 * int(np.ceil(length_px / 2)) + 1
    if side < 3:
        return image
    kernel = np.zeros((side, side), np.float32)
    middle, reach = side // 2, length_px / 2
    across, down = np.cos(angle) * reach, np.sin(angle) * reach
    ends = np.rint([[middle - across, middle - down], [middle + across, middle + down]]).astype(int)
    cv2.line(kernel, ends[0].tolist(), ends[1].tolist(), 1.0, 1, cv2.LINE_AA)
    smeared = cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE)
    return np.asarray(smeared, np.uint8)


def best_frame(results: Sequence[Result], reading: str) -> Answer:
    """Return the answer of the frame that is surest."""
    best = max(results, key=lambda result: result.confidence)
    return best.readings[reading].raw_text, best.confidence


def majority(results: Sequence[Result], reading: str) -> Answer:
    """Return the text that most frames read, and their share; ties by summed confidence."""
    votes: dict[str, tuple[int, float]] = {}
    for result in results:
        text = result.readings[reading].raw_text
        count, confidence = votes.get(text, (0, 0.0))
        votes[text] = (count + 1, confidence + result.confidence)
    text = max(votes, key=lambda each: votes[each])
    return text, votes[text][0] / len(results)


def measure(config: TrackVotingConfig) -> int:
    """Run the command.

    Raises:
        HeadlightError: anything that a user can mend.
    """
    with Reader.open(config.artifact, keep_scores=True) as reader:
        schema = reader.info.schema
        if not schema.readings:
            raise ConfigError(f"{config.artifact}: the schema {schema.name!r} has no reading")
        reading = schema.readings[0]
        data = read_labelled(config.data, schema)
        say(f"reading {len(data)} tracks of {max(config.frames)} frames")
        tracks = [_read(reader, data, row, config) for row in range(len(data))]
        truth = [_truth(schema, reading, data, row) for row in range(len(data))]
        ways = _ways(reader, reading.name, config.options)
        threshold = reader.operating.answer_threshold or 0.0
    rows = []
    for count in config.frames:
        found = {name: [answer(track[:count]) for track in tracks] for name, answer in ways.items()}
        single = _single(tracks, count, truth, reading.name)
        rows.append({"frames": str(count), "any frame": single, **_row(truth, found, threshold)})
    show_table(f"Tracks of {config.data}, severity {config.severity:g}", rows)
    return 0


def _ways(
    reader: Reader, reading: str, options: TrackOptions
) -> Mapping[str, Callable[[Sequence[Result]], Answer]]:
    def fused(results: Sequence[Result]) -> Answer:
        track = reader.track(options)
        for result in results:
            track.add(result)
        answer = track.answer()
        assert answer is not None  # every track has a frame
        return answer.readings[reading].raw_text, answer.confidence

    return {
        "best frame": lambda results: best_frame(results, reading),
        "majority": lambda results: majority(results, reading),
        "fused": fused,
    }


def _read(
    reader: Reader, data: LabelledCrops, row: int, config: TrackVotingConfig
) -> Sequence[Result]:
    frames = seen_frames(data.image(row), max(config.frames), config.severity, (config.seed, row))
    return [reader.read(frame) for frame in frames]


def _truth(schema: Schema, reading: Reading, data: LabelledCrops, row: int) -> str | None:
    """Return the text that a crop shows; None where a character is not given."""
    letters = []
    for name in reading.heads:
        index = int(data.targets.choices[name][row])
        if index < 0:
            return None
        label = schema.head(name).labels[index]
        letters.append("" if label == reading.blank else label)
    return "".join(letters)


def _single(
    tracks: Sequence[Sequence[Result]], count: int, truth: Sequence[str | None], reading: str
) -> str:
    right = [
        result.readings[reading].raw_text == text
        for track, text in zip(tracks, truth, strict=True)
        for result in track[:count]
        if text is not None
    ]
    return f"{np.mean(right):.4f}"


def _row(
    truth: Sequence[str | None], found: Mapping[str, Sequence[Answer]], threshold: float
) -> Mapping[str, str]:
    given = np.asarray([text is not None for text in truth])
    cells = {}
    right = {}
    for name, answers in found.items():
        pairs = zip(answers, truth, strict=True)
        right[name] = np.asarray([text == true for (text, _), true in pairs])
        cells[name] = f"{Share.of(right[name], given).value:.4f}"
    for name in ("best frame", "fused"):
        sure = given & (_confidences(found[name]) >= threshold)
        cells[f"accepted by {name}"] = f"{sure.sum() / given.sum():.4f}"
        cells[f"wrong ({name})"] = str((sure & ~right[name]).sum())
        cells[f"mean confidence ({name})"] = f"{_confidences(found[name])[given].mean():.4f}"
    return cells


def _confidences(answers: Sequence[Answer]) -> npt.NDArray[np.float64]:
    return np.asarray([confidence for _, confidence in answers])


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line and measure; return the exit code."""
    return run_command(argv, TrackVotingConfig, measure, prog=PROG)


if __name__ == "__main__":
    raise SystemExit(main())
