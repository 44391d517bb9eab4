"""Requests and answers of the KServe v2 protocol as bytes: JSON, and behind it binary tensors.

What the protocol leaves to servers is refused where it is not kept, never ignored: shared memory,
classification, sequences. Element types are those that the models here have: UINT8 and FP32 arrays,
and BYTES, of which each element is its length in 4 bytes and then itself.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from runtime.errors import DataError
from runtime.kserve import BINARY_SIZE, DATATYPES, LARGEST_JSON_BYTES
from runtime.strict import StrictObject, parse_json

__all__ = ["BYTES", "Output", "Question", "TensorSpec", "Values", "encode_answer", "parse_question"]

BYTES: Final = "BYTES"
_LENGTH_BYTES: Final = 4
_LONGEST_ID: Final = 256

Values: TypeAlias = npt.NDArray[Any] | Sequence[bytes]


class TensorSpec(NamedTuple):
    """An input or output of a model."""

    name: str
    datatype: str
    """As the protocol spells it."""
    shape: tuple[int, ...]
    """-1 where a size is free, which is the first only."""

    def to_object(self) -> dict[str, object]:
        """Return its entry in a model's metadata."""
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}


class Output(NamedTuple):
    """An output that was asked for."""

    name: str
    binary: bool
    """Whether it goes behind the JSON."""


@dataclass(frozen=True, slots=True)
class Question:
    """A request for an inference, checked against the model."""

    values: Values
    """The one input: (N, ...) array, or N elements of BYTES."""
    outputs: Sequence[Output]
    """In the order in which they were asked for."""
    id: str | None = None
    timeout_ms: float | None = None


def parse_question(
    body: bytes,
    json_bytes: int,
    model_input: TensorSpec,
    outputs: Sequence[str],
    *,
    max_batch: int,
) -> Question:
    """Parse the body of ``POST .../infer``.

    Args:
        body: JSON, and behind it the binary input.
        json_bytes: How much of it is JSON.
        model_input: The input that the model has.
        outputs: Names of the outputs that it has.
        max_batch: Largest first size of the input.

    Raises:
        DataError: anything that the protocol or the model does not allow.
    """
    if json_bytes > min(len(body), LARGEST_JSON_BYTES):
        raise DataError(
            f"{json_bytes} bytes of JSON: the body has {len(body)}, and {LARGEST_JSON_BYTES} are "
            "the most; send tensors as binary data"
        )
    rest = memoryview(body)[json_bytes:]
    with StrictObject(_parse(body[:json_bytes]), "the request", DataError) as item:
        request_id = item.text("id", "")
        if len(request_id) > _LONGEST_ID:
            raise DataError(f"the id has more than {_LONGEST_ID} characters")
        binary, timeout_ms = _parameters(item.mapping("parameters", {}))
        given = item.items("inputs")
        if len(given) != 1:
            raise DataError(f"the model has one input, {model_input.name!r}, got {len(given)}")
        values = _input(given[0], model_input, rest, max_batch)
        wanted = _outputs(item.items("outputs", []), outputs, binary=binary)
    return Question(values, wanted, request_id or None, timeout_ms)


def _parse(text: bytes) -> object:
    try:
        return parse_json(text.decode(), "the request", DataError)
    except UnicodeDecodeError as error:
        raise DataError(f"the request is not UTF-8: {error.reason}") from error


def _parameters(values: Mapping[str, Any]) -> tuple[bool, float | None]:
    """Return whether outputs are binary by default, and the time allowed in milliseconds."""
    with StrictObject(values, "parameters", DataError) as item:
        timeout_us = item.integer("timeout", 0)  # Triton's, in microseconds
        return item.flag("binary_data_output", False), timeout_us / 1e3 if timeout_us > 0 else None


def _input(value: object, spec: TensorSpec, rest: memoryview, max_batch: int) -> Values:
    with StrictObject(value, "inputs", DataError) as item:
        name, datatype = item.text("name"), item.text("datatype")
        if (name, datatype) != (spec.name, spec.datatype):
            raise DataError(
                f"the model's input is {spec.name!r} {spec.datatype}, got {name!r:.60} "
                f"{datatype!r:.20}"
            )
        shape = item.integers("shape")
        if shape[1:] != spec.shape[1:] or not shape or not 1 <= shape[0] <= max_batch:
            sizes = [f"1 to {max_batch}", *map(str, spec.shape[1:])]
            raise DataError(f"input {name!r} must be ({', '.join(sizes)}), got {shape!s:.80}")
        with StrictObject(item.mapping("parameters", {}), f"{name!r} parameters", DataError) as par:
            size = par.integer(BINARY_SIZE, -1)
        data = item.items("data", []) if size < 0 else None
    if data is None:
        if size != len(rest):
            raise DataError(f"{name!r}: {size} bytes of binary data, got {len(rest)}")
        if datatype == BYTES:
            return _elements(rest, shape[0], name)
        return _array(rest, shape, DATATYPES[datatype], name)
    if len(rest):
        raise DataError(f"{len(rest)} bytes behind the JSON, which names no binary tensor")
    if datatype == BYTES:
        raise DataError(f"{name!r} holds bytes, which JSON cannot: send it as binary data")
    return _numbers(data, shape, name)


def _array(content: memoryview, shape: tuple[int, ...], dtype: str, name: str) -> npt.NDArray[Any]:
    kind = np.dtype(dtype).newbyteorder("<")
    if len(content) != math.prod(shape) * kind.itemsize:
        raise DataError(
            f"{name!r}: {shape} is {math.prod(shape) * kind.itemsize} bytes, got {len(content)}"
        )
    return np.frombuffer(content, kind).reshape(shape)


def _elements(content: memoryview, count: int, name: str) -> list[bytes]:
    found: list[bytes] = []
    while len(content) >= _LENGTH_BYTES and len(found) < count:
        size = int.from_bytes(content[:_LENGTH_BYTES], "little")
        element = content[_LENGTH_BYTES : _LENGTH_BYTES + size]
        if len(element) < size:
            break
        found.append(bytes(element))
        content = content[_LENGTH_BYTES + size :]
    if len(found) != count or len(content):
        raise DataError(
            f"{name!r}: expected {count} elements, each behind its length in 4 bytes, got "
            f"{len(found)} and {len(content)} bytes more"
        )
    return found


def _numbers(data: Sequence[Any], shape: tuple[int, ...], name: str) -> npt.NDArray[np.uint8]:
    """Return whole numbers, flat or nested as the shape says."""
    try:
        values = np.asarray(data)
    except (ValueError, OverflowError) as error:
        raise DataError(f"{name!r}: lists of different lengths, or numbers beyond 255") from error
    if values.dtype.kind not in "iu" or values.shape not in (shape, (math.prod(shape),)):
        raise DataError(
            f"{name!r}: data must be {math.prod(shape)} whole numbers, flat or {shape}, got "
            f"{values.dtype.kind!r} {values.shape!s:.80}"
        )
    if values.min() < 0 or values.max() > np.iinfo(np.uint8).max:
        raise DataError(f"{name!r}: numbers must be in [0, 255]")
    return values.reshape(shape).astype(np.uint8)


def _outputs(values: Sequence[Any], known: Sequence[str], *, binary: bool) -> Sequence[Output]:
    wanted: dict[str, Output] = {}
    for value in values:
        with StrictObject(value, "outputs", DataError) as item:
            name = item.text("name")
            with StrictObject(item.mapping("parameters", {}), "outputs", DataError) as parameters:
                output = Output(name, parameters.flag("binary_data", binary))
        if name not in known or name in wanted:
            raise DataError(f"output {name!r:.60} is unknown or comes twice; there are {[*known]}")
        wanted[name] = output
    return [*wanted.values()] or [Output(name, binary) for name in known]


def encode_answer(
    model: Mapping[str, str],
    outputs: Sequence[tuple[Output, TensorSpec, Values]],
    request_id: str | None,
) -> tuple[bytes, int | None]:
    """Return the body of an answer, and how much of it is JSON if not all of it.

    Args:
        model: ``model_name`` and ``model_version``.
        outputs: What was asked for, what it is, and its values.
        request_id: That of the request.
    """
    entries, tail = [], []
    for output, spec, values in outputs:
        shape = values.shape if isinstance(values, np.ndarray) else (len(values),)
        entry: dict[str, object] = {"name": spec.name, "datatype": spec.datatype, "shape": shape}
        if output.binary:
            content = _content(values)
            entry["parameters"] = {BINARY_SIZE: len(content)}
            tail.append(content)
        else:
            entry["data"] = _data(values)
        entries.append(entry)
    identity = {} if request_id is None else {"id": request_id}
    answer = {**model, **identity, "outputs": entries}
    # ASCII: an id may hold a half of a character that UTF-8 cannot spell.
    header = json.dumps(answer, allow_nan=False).encode()
    return b"".join([header, *tail]), len(header) if tail else None


def _content(values: Values) -> bytes:
    if isinstance(values, np.ndarray):
        if sys.byteorder == "big":
            values = values.astype(values.dtype.newbyteorder("<"))
        return values.tobytes()
    return b"".join(len(value).to_bytes(_LENGTH_BYTES, "little") + value for value in values)


def _data(values: Values) -> list[Any]:
    if isinstance(values, np.ndarray):
        return values.ravel().tolist()
    return [value.decode() for value in values]
