"""The conformance suite that every engine must pass."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from runtime.arrays import Logits
from runtime.errors import EngineError
from runtime.golden import check_golden
from runtime.manifest import Manifest
from runtime.session import Session, SessionOptions, open_session
from runtime.session_openvino import precision_hint
from tests.artifacts import TinyNetwork, random_images
from tests.engines import require


def opened(folder: Path, **options: Any) -> Session:
    return open_session(folder, Manifest.load(folder), SessionOptions(**options))


@pytest.fixture(scope="module")
def session(tiny_artifact: Path) -> Session:
    return opened(tiny_artifact)


def assert_close(found: Logits, expected: Logits) -> None:
    assert list(found) == list(expected)
    for name in expected:
        assert found[name].dtype == np.float32
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-4, atol=1e-4)


def test_scores_are_those_of_numpy(session: Session, network: TinyNetwork) -> None:
    # Engines keep buffers for the size of the batch before, and prepare for 1 and 16.
    for count in (1, 2, 5, 2, 16, 1, 16, 17):
        images = random_images(count, seed=count)
        assert_close(session.run(images), network.logits(images))


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("count", [1, 4, 6])
def test_a_graph_of_fixed_batch(
    engine: str, make_artifact: Callable[..., Path], network: TinyNetwork, batch: int, count: int
) -> None:
    session = opened(make_artifact(network, engine=engine, batch=batch))
    images = random_images(count)
    assert_close(session.run(images), network.logits(images))


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_float_layers_are_not_rounded(
    engine: str, make_artifact: Callable[..., Path], network: TinyNetwork, precision: str
) -> None:
    session = opened(make_artifact(network, engine=engine, precision=precision))
    images = random_images(3)
    found, expected = session.run(images), network.logits(images)
    if (engine, precision) == ("openvino", "fp16") and precision_hint("fp16") == "f16":
        # This processor computes in float16 itself.
        assert session.description["precision"] == "fp16"
        for name in expected:
            np.testing.assert_allclose(found[name], expected[name], rtol=0.005, atol=0.01)
    else:
        assert_close(found, expected)
        assert session.description["precision"] == "fp32"


def test_bfloat16_is_used_when_asked_for(
    engine: str, make_artifact: Callable[..., Path], network: TinyNetwork
) -> None:
    session = opened(make_artifact(network, engine=engine, precision="bf16"))
    images = random_images(3)
    found, expected = session.run(images), network.logits(images)
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=0.05, atol=0.1)


def test_scores_belong_to_the_caller(session: Session) -> None:
    first, second = random_images(1, seed=1), random_images(1, seed=2)
    kept = session.run(first)
    copies = {name: scores.copy() for name, scores in kept.items()}
    session.run(second)
    assert all((kept[name] == copies[name]).all() for name in kept)
    for scores in kept.values():
        scores[:] = 7  # must reach neither the engine nor the next caller
    again = session.run(first)
    assert all((again[name] == copies[name]).all() for name in again)


def test_images_are_not_changed_and_may_be_read_only(session: Session) -> None:
    for count in (1, 3):
        images = random_images(count)
        before = images.copy()
        images.flags.writeable = False
        session.run(images)
        assert (images == before).all()


@pytest.mark.parametrize("hint", ["latency", "throughput"])
def test_threads_get_their_own_scores(tiny_artifact: Path, hint: str) -> None:
    session = opened(tiny_artifact, threads=2, hint=hint)
    batches = [random_images(count, seed=seed) for seed in range(20) for count in (1, 2, 3)]
    serial = [session.run(images) for images in batches]
    wrong: list[object] = []

    def work(order: list[int]) -> None:
        try:
            for index in order:
                for name, scores in session.run(batches[index]).items():
                    if not np.array_equal(scores, serial[index][name]):
                        wrong.append((index, name))
        except EngineError as error:
            wrong.append(error)

    orders = [np.random.default_rng(seed).permutation(60).tolist() for seed in range(4)]
    workers = [threading.Thread(target=work, args=(order,)) for order in orders]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=60)
    assert not any(worker.is_alive() for worker in workers)
    assert not wrong


def test_closing_while_others_run(tiny_artifact: Path) -> None:
    session = opened(tiny_artifact)
    images = random_images(1)
    failures: list[BaseException] = []
    started = threading.Barrier(3)

    def work() -> None:
        started.wait(10)
        try:
            while True:
                session.run(images)
        except EngineError:
            return
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    started.wait(10)
    session.close()
    for worker in workers:
        worker.join(timeout=60)
    assert not any(worker.is_alive() for worker in workers)
    assert not failures


def test_closed_sessions_refuse(tiny_artifact: Path) -> None:
    session = opened(tiny_artifact)
    session.run(random_images(1))
    session.close()
    session.close()
    for count in (1, 2):
        with pytest.raises(EngineError, match="closed"):
            session.run(random_images(count))
    assert session.description["engine"]


@pytest.mark.parametrize(
    "images",
    [
        random_images(1)[0],
        random_images(0),
        random_images(1).astype(np.float32),
        random_images(1)[:, :8],
    ],
)
def test_images_that_do_not_fit(session: Session, images: Any) -> None:
    with pytest.raises(EngineError, match="expected images"):
        session.run(images)


def rename_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].name = "input"
    model.graph.node[0].input[0] = "input"


def rename_output(model: onnx.ModelProto) -> None:
    model.graph.output[0].name = "other"
    model.graph.node[-1].output[0] = "other"


def reorder_outputs(model: onnx.ModelProto) -> None:
    outputs = list(reversed(model.graph.output))
    del model.graph.output[:]
    model.graph.output.extend(outputs)


def float_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT


def lose_output(model: onnx.ModelProto) -> None:
    del model.graph.output[-1]


def other_height(model: onnx.ModelProto) -> None:
    # The graph then has more features than its matrix takes, unless the width shrinks too.
    shape = model.graph.input[0].type.tensor_type.shape.dim
    shape[1].dim_value, shape[2].dim_value = shape[2].dim_value, shape[1].dim_value


def double_output(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Cast", ["first"], ["wide"], to=TensorProto.DOUBLE))
    model.graph.output[0].CopyFrom(
        helper.make_tensor_value_info("wide", TensorProto.DOUBLE, ["batch", 3])
    )


@pytest.mark.parametrize(
    "change",
    [rename_input, rename_output, reorder_outputs, float_input, lose_output, other_height,
     double_output],
)  # fmt: skip
def test_graphs_of_another_contract_are_refused(
    engine: str,
    make_artifact: Callable[..., Path],
    network: TinyNetwork,
    change: Callable[[onnx.ModelProto], None],
) -> None:
    folder = make_artifact(network, engine=engine, change=change)
    with pytest.raises(EngineError, match=r"the graph's (input|outputs) must be"):
        opened(folder)


def test_a_graph_of_another_schema_is_refused(tiny_artifact: Path) -> None:
    text = (tiny_artifact / "artifact.json").read_text(encoding="utf-8")
    text = text.replace('"blue"', '"red",\n "blue"').replace(
        '"colour",\n   "scores": "logits",\n   "size": 2',
        '"colour",\n   "scores": "logits",\n   "size": 3',
    )
    manifest = Manifest.from_json(text)
    with pytest.raises(EngineError, match=r"'colour' float32 \(N, 3\)"):
        open_session(tiny_artifact, manifest, SessionOptions())


@pytest.mark.parametrize("content", [b"", b"no graph", b"<net/>", None])
def test_files_that_are_no_graph(
    engine: str,
    make_artifact: Callable[..., Path],
    network: TinyNetwork,
    content: bytes | None,
    capfd: pytest.CaptureFixture[str],
) -> None:
    folder = make_artifact(network, engine=engine)
    manifest = Manifest.load(folder)
    if content is None:
        (folder / manifest.engine_file).unlink()
    else:
        (folder / manifest.engine_file).write_bytes(content)
    with pytest.raises(EngineError, match="cannot load"):
        open_session(folder, manifest, SessionOptions())
    assert capfd.readouterr().out == ""  # stdout belongs to the program, not to an engine


@pytest.mark.parametrize("location", ["../weights.bin", "{outside}"])
def test_weights_outside_the_folder_are_not_read(
    engine: str, make_artifact: Callable[..., Path], network: TinyNetwork, location: str
) -> None:
    folder = make_artifact(network)  # both engines read ONNX files
    outside = folder.parent / "weights.bin"
    model = onnx.load(folder / "model.onnx")
    kernel = next(array for array in model.graph.initializer if array.name == "kernel")
    outside.write_bytes(kernel.raw_data)
    kernel.ClearField("raw_data")
    kernel.data_location = onnx.TensorProto.EXTERNAL
    place = kernel.external_data.add()
    place.key, place.value = "location", location.format(outside=outside)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    text = (folder / "artifact.json").read_text(encoding="utf-8")
    manifest = Manifest.from_json(text.replace('"engine": "onnx"', f'"engine": "{engine}"'))
    with pytest.raises(EngineError, match="cannot load"):
        open_session(folder, manifest, SessionOptions())


def test_description(session: Session, engine: str) -> None:
    assert session.description["engine"] == {"onnx": "onnxruntime"}.get(engine, engine)
    assert {"version", "device", "precision", "threads"} <= set(session.description)


def test_golden_vectors_on_the_real_engine(session: Session, tiny_artifact: Path) -> None:
    for batch in (1, 16):
        report = check_golden(session, Manifest.load(tiny_artifact), tiny_artifact, batch=batch)
        assert report.max_abs_diff < 1e-4


def test_golden_vectors_find_another_network(
    engine: str, make_artifact: Callable[..., Path], network: TinyNetwork
) -> None:
    folder = make_artifact(network, engine=engine)
    session = opened(make_artifact(TinyNetwork(seed=1), engine=engine))
    with pytest.raises(EngineError, match="golden vectors"):
        check_golden(session, Manifest.load(folder), folder)


def test_openvino_reads_onnx_files(
    make_artifact: Callable[..., Path], network: TinyNetwork
) -> None:
    require("openvino")
    folder = make_artifact(network)
    text = (folder / "artifact.json").read_text(encoding="utf-8")
    manifest = Manifest.from_json(text.replace('"engine": "onnx"', '"engine": "openvino"'))
    session = open_session(folder, manifest, SessionOptions())
    images = random_images(2)
    assert_close(session.run(images), network.logits(images))


def test_openvino_keeps_compiled_graphs_where_told(
    make_artifact: Callable[..., Path], network: TinyNetwork, tmp_path: Path
) -> None:
    require("openvino")
    folder = make_artifact(network, engine="openvino")
    cache = tmp_path / "cache"
    images = random_images(3)
    for _ in range(2):
        with closing(opened(folder, cache_dir=cache)) as session:
            assert_close(session.run(images), network.logits(images))
        kept = sorted(path.stat().st_mtime_ns for path in cache.iterdir())
        assert kept
    with closing(opened(folder, cache_dir=cache)) as session:
        session.run(images)
    assert sorted(path.stat().st_mtime_ns for path in cache.iterdir()) == kept
    opened(folder).close()
    assert sorted(path.name for path in folder.iterdir()) == [
        "artifact.json", "golden.npz", "model.bin", "model.xml",
    ]  # fmt: skip


def test_onnx_runtime_works_where_nothing_can_be_written(
    make_artifact: Callable[..., Path], network: TinyNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    require("onnxruntime")
    folder = make_artifact(network)

    def refuse() -> None:
        raise FileNotFoundError("no usable temporary directory")

    monkeypatch.setattr(tempfile, "gettempdir", refuse)
    session = opened(folder)
    images = random_images(2)
    assert_close(session.run(images), network.logits(images))
    assert session.description["precision"] == "unknown"
    assert session.description["device"] == "cpu"
