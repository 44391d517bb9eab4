"""The two benchmark commands on tiny artifacts, through their ``main``."""

from __future__ import annotations

import json
import re
import sys
from itertools import count
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks import accuracy, latency
from benchmarks.assessment import assess, difference
from benchmarks.labelled import read_labelled
from benchmarks.metric_kinds import METRICS, kind_of
from benchmarks.operating_point import fit_operating_point
from benchmarks.scoring import open_engine, score_crops
from benchmarks.speed import SCENARIOS, Loads, Plan, measure_speed
from runtime import session_onnx
from runtime.arrays import Images, Logits
from runtime.decode import decode
from runtime.errors import IntegrityError
from runtime.scores import OperatingPoint
from runtime.session_onnx import OnnxSession
from tests.artifacts import SMALL_SCHEMA, TinyNetwork, random_images, write_artifact
from tests.engines import require

NETWORK = TinyNetwork(scale=3.0)
WRONG_EVERY = 10
"""Every tenth label is changed, so that exactness is 0.9 by construction."""


def write_list(folder: Path, samples: int, seed: int) -> Path:
    """Write crops that the network answers rightly but for every tenth."""
    folder.mkdir()
    images = random_images(samples, seed=seed)
    decoded = decode(SMALL_SCHEMA, NETWORK.logits(images), OperatingPoint())
    colours, extras = SMALL_SCHEMA.head("colour").labels, SMALL_SCHEMA.head("extras").labels
    lines = []
    for i, image in enumerate(images):
        cv2.imwrite(str(folder / f"{i}.png"), image)
        colour = decoded.choices["colour"][i] ^ int(i % WRONG_EVERY == 0)
        on = "|".join(np.array(extras)[decoded.labels["extras"][i]]) or "-"
        text = decoded.readings["code"].raw_texts[i]
        lines.append(f"{i}.png\t{text},{colours[colour]},{on}\n")
    (folder / "labels.tsv").write_text("".join(lines), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for package in ("tyro", "matplotlib", "onnxruntime"):
        require(package)
    folder = tmp_path_factory.mktemp("benchmarks")
    write_artifact(folder / "right", NETWORK)
    write_artifact(folder / "other", TinyNetwork(scale=3.0, seed=1))
    write_list(folder / "test", 60, seed=1)
    write_list(folder / "val", 40, seed=2)
    return folder


def budget(folder: Path, *limits: str) -> Path:
    path = folder / "budget.toml"
    path.write_text(f"schema = 1\nlimits = [{', '.join(limits)}]\n", encoding="utf-8")
    return path


def run_accuracy(*arguments: object) -> int:
    return accuracy.main([str(argument) for argument in arguments])


def run_latency(*arguments: object) -> int:
    quick = ("--duration", "0.1", "--cold-starts", "0", "--tries", "1")
    return latency.main([str(argument) for argument in (*arguments, *quick)])


def test_accuracy_is_what_was_planted(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run_accuracy(place / "right", "--data", place / "test", "--output", out) == 0
    result = json.loads((out / "result.json").read_text(encoding="utf-8"))
    metrics = result["artifacts"]["right"]["metrics"]
    assert metrics["exact"]["hits"] == 54
    assert metrics["readings"]["code"]["exact"]["value"] == 1.0
    assert metrics["heads"]["colour"]["accuracy"]["value"] == 0.9
    assert result["artifacts"]["right"]["recall_at_precision"] is None
    assert result["environment"]["packages"]["numpy"] == np.__version__
    printed = capsys.readouterr()
    assert "| exact " in printed.out
    assert "no threshold was fitted" in printed.out
    assert printed.err.startswith("right: scoring 60 crops")
    assert "next: python -m benchmarks.latency" in printed.err.splitlines()[-1]
    drawn = {"right_reliability.png", "right_risk_coverage.png"}
    found = {path.name for path in out.iterdir()}
    assert found == {"report.html", "report.md", "result.json"} | drawn
    # Nothing was accepted or refused, so each of the 6 wrong answers is a mistake to look at.
    mistakes = result["artifacts"]["right"]["confident_mistakes"]
    html = (out / "report.html").read_text(encoding="utf-8")
    assert all(Path(entry["path"]).name in html for entry in mistakes)


def test_refit_and_comparison(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    lists = ("--data", place / "test", "--validation", place / "val", "--precision", 0.95)
    artifacts = (place / "right", place / "other")
    limits = budget(
        tmp_path,
        '{ metric = "accuracy.reading.code", min = 0.1 }',
        '{ metric = "versus.flips", max = 0.0001 }',
    )
    assert run_accuracy(*artifacts, *lists, "--output", out, "--budget", limits) == 1
    result = json.loads((out / "result.json").read_text(encoding="utf-8"))
    right, other = result["artifacts"]["right"], result["artifacts"]["other"]
    assert right["versus_first"] is None
    assert other["versus_first"]["flips"]["hits"] > 0
    assert right["operating"]["precision_floor"] == 0.95
    assert str(place / "val") in right["operating"]["fitted_on"]
    recall = right["recall_at_precision"]
    assert recall["recall"]["total"] == 60
    assert recall["threshold"] == right["operating"]["answer_threshold"]
    assert right["validated"]["precision"]["value"] >= 0.95
    low, high = right["validated"]["spread"]["recall"]
    assert 0 <= low <= high <= 1
    for options in (("--precision", 0.9), ("--labels-by", "f1"), ("--labels-precision", 0.9)):
        assert run_accuracy(place / "right", "--data", place / "test", *options) == 1
    outcomes = {name: [v["outcome"] for v in vs] for name, vs in result["verdicts"].items()}
    assert outcomes["right"] == ["pass"]  # flips are not asked of the reference
    assert outcomes["other"][1] == "fail"
    assert (out / "junit.xml").is_file()


def test_a_limit_of_a_head_that_is_not_there_ends_the_command_before_anything_is_scored(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    limits = budget(tmp_path, '{ metric = "accuracy.head.color", min = 0.5 }')
    assert run_accuracy(place / "right", "--data", place / "test", "--budget", limits) == 1
    told = capsys.readouterr().err
    assert "did you mean accuracy.head.colour" in told
    assert "scoring" not in told


def test_thresholds_prove_nothing_on_the_crops_that_they_were_fitted_on(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    test = read_labelled(place / "test", SMALL_SCHEMA)
    fitted = f"two lists: 100 crops, sha256 0123456789ab, {test.short_digest}"
    point = OperatingPoint(answer_threshold=0.0, precision_floor=0.5, fitted_on=fitted)
    write_artifact(tmp_path / "same", NETWORK, operating=point)
    limits = budget(
        tmp_path,
        '{ metric = "accuracy.recall_at_precision", min = 0.5 }',
        '{ metric = "accuracy.precision_of_accepted", min = 0.999 }',
        '{ metric = "accuracy.exact", min = 0.7 }',
    )
    words = ("--data", place / "test", "--budget", limits, "--output", tmp_path / "out")
    assert run_accuracy(tmp_path / "same", *words) in (1, 3)
    result = json.loads((tmp_path / "out" / "result.json").read_text(encoding="utf-8"))
    assert result["artifacts"]["same"]["thresholds_fitted_here"] is True
    recall, _, exact = result["verdicts"]["same"]
    assert (recall["outcome"], exact["outcome"]) == ("inconclusive", "pass")
    assert "fitted on these very crops" in recall["reason"]
    assert "fitted on these very crops" in (tmp_path / "out" / "report.md").read_text("utf-8")
    # Thresholds of other crops are proven as ever.
    words = (*words, "--validation", place / "val", "--precision", 0.5, "--overwrite")
    run_accuracy(tmp_path / "same", *words)
    result = json.loads((tmp_path / "out" / "result.json").read_text(encoding="utf-8"))
    assert result["verdicts"]["same"][0]["outcome"] == "pass"


def test_inconclusive_budget_exits_with_3(place: Path, tmp_path: Path) -> None:
    limits = budget(tmp_path, '{ metric = "accuracy.exact", min = 0.89, confidence = 0.999 }')
    assert run_accuracy(place / "right", "--data", place / "test", "--budget", limits) == 3


def test_scores_do_not_depend_on_the_batch(place: Path) -> None:
    crops = read_labelled(place / "test", SMALL_SCHEMA)
    with open_engine(place / "right") as (manifest, session):
        alone = score_crops(session, manifest.input, crops, batch=1)
        together = score_crops(session, manifest.input, crops, batch=7)
    for name, scores in alone.items():
        np.testing.assert_allclose(scores, together[name], atol=1e-4)


def failing(capsys: pytest.CaptureFixture[str], out: Path, *arguments: object) -> str:
    """Run accuracy, which must fail with one clear error and write nothing."""
    before = sorted(out.parent.iterdir())
    assert run_accuracy(*arguments, "--output", out) == 1
    assert sorted(out.parent.iterdir()) == before
    printed = capsys.readouterr()
    assert printed.out == ""
    last = [line for line in printed.err.splitlines() if line.startswith("error: ")]
    assert len(last) == 1
    assert "Traceback" not in printed.err
    return printed.err


def test_bad_inputs_give_one_error_and_leave_nothing(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    empty = tmp_path / "empty.tsv"
    empty.write_text("")
    foreign = place / "test" / "foreign.tsv"
    foreign.write_text("0.png\tAB\n1.png\tZZ\n", encoding="utf-8")
    right, data = place / "right", ("--data", place / "test")
    assert "no samples" in failing(capsys, out, right, "--data", empty)
    assert "foreign.tsv:2" in failing(capsys, out, right, "--data", foreign)
    assert "gone" in failing(capsys, out, right, "--data", tmp_path / "gone")
    assert "gone" in failing(capsys, out, tmp_path / "gone", *data)
    assert "at least one" in failing(capsys, out, *data)
    assert "budget" in failing(capsys, out, right, *data, "--budget", tmp_path / "gone.toml")
    assert "--validation" in failing(capsys, out, right, *data, "--precision", 0.9)
    both = failing(capsys, out, right, *data, "--validation", place / "test")
    assert "60 pictures are in both" in both
    foreign.unlink()


def test_artifacts_of_different_schemas_are_not_compared(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    heads = SMALL_SCHEMA.heads[3:]
    network = TinyNetwork(type(SMALL_SCHEMA)(name="other", heads=heads))
    write_artifact(tmp_path / "foreign", network)
    told = failing(
        capsys, tmp_path / "out", place / "right", tmp_path / "foreign", "--data", place / "test"
    )
    assert "'small'" in told
    assert "'other'" in told


def test_changed_engine_is_not_measured(place: Path, tmp_path: Path) -> None:
    write_artifact(tmp_path / "copy", NETWORK)
    engine = tmp_path / "copy" / "model.onnx"
    engine.write_bytes(engine.read_bytes()[:-1] + b"x")
    with pytest.raises(IntegrityError), open_engine(tmp_path / "copy"):
        pass
    assert run_accuracy(tmp_path / "copy", "--data", place / "test") == 1
    assert run_latency(tmp_path / "copy") == 1


def test_bad_rows_are_left_out_only_when_asked(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    partly = place / "test" / "partly.tsv"
    partly.write_text("0.png\tAB\nmissing.png\tAB\n", encoding="utf-8")
    assert run_accuracy(place / "right", "--data", partly) == 1
    assert run_accuracy(place / "right", "--data", partly, "--skip-bad") == 0
    assert "left out 1 rows" in capsys.readouterr().err
    partly.unlink()


def test_latency_of_two_artifacts(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    limits = budget(
        tmp_path,
        '{ metric = "latency.engine_ms", stat = "p50", max = 1000 }',
        '{ metric = "size.engine_mb", max = 1.2 }',
        '{ metric = "speedup.engine", min = 0.0001 }',
        '{ metric = "accuracy.exact", min = 0.9 }',
    )
    artifacts = (place / "right", place / "other")
    assert run_latency(*artifacts, "--batch", 4, "--output", out, "--budget", limits) == 0
    result = json.loads((out / "result.json").read_text(encoding="utf-8"))
    assert len(result["verdicts"]["right"]) == 2
    assert len(result["verdicts"]["other"]) == 3
    found = result["artifacts"]["right"]
    assert found["engine"]["percentiles_ms"]["p50"] > 0
    assert found["read"]["percentiles_ms"]["p50"] > found["engine"]["percentiles_ms"]["p50"]
    assert found["offline"]["batch"] == 4
    assert "noisy" in found["engine"]
    assert set(result["interleaved"]["speedups"]) == {"right", "other"}
    printed = capsys.readouterr().out
    assert "engine p50, ms" in printed
    assert "speedup of engine" in printed
    assert found["read"]["stages"]["engine"]["percentiles_ms"]["p50"] > 0
    names = ["junit.xml", "latency.png", "report.md", "result.json"]
    assert sorted(path.name for path in out.iterdir()) == names


def test_latency_budget_that_cannot_be_kept_exits_with_1(place: Path, tmp_path: Path) -> None:
    limits = budget(tmp_path, '{ metric = "size.artifact_mb", max = 0.000001 }')
    assert run_latency(place / "right", "--budget", limits) == 1


def test_all_scenarios_under_the_load_of_a_budget(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, limits = tmp_path / "out", tmp_path / "budget.toml"
    kinds = [("latency.read_ms", kind) for kind in ("multi-stream", "server", "camera")]
    lines = [
        f'{{ metric = "{metric}", scenario = "{kind}", stat = "p50", max = 1000 }}'
        for metric, kind in [*kinds, ("latency.queue_ms", "camera")]
    ]
    lines += [
        f'{{ metric = "frames.{what}", scenario = "camera", max = 0.999 }}'
        for what in ("dropped", "late")
    ]
    load = "streams = 3\nrate = 400\nbound_ms = 50\ncameras = 8\nfps = 100\ndeadline_ms = 20\n"
    text = f"schema = 1\nlimits = [{', '.join(lines)}]\n[load]\n{load}"
    limits.write_text(text, encoding="utf-8")
    options = ("--data", place / "test", "--batch", 2, "--workers", 2, "--output", out)
    assert run_latency(place / "right", *options, "--budget", limits) == 0
    entry = json.loads((out / "result.json").read_text(encoding="utf-8"))["artifacts"]["right"]
    assert entry["multi_stream"]["streams"] == 3
    assert entry["server"]["queries_per_s"] == 400
    assert entry["server"]["search"] is None
    assert entry["server"]["queries"] >= 662
    assert set(entry["server"]["stages"]) == {"queue", "prepare", "engine", "decode"}
    camera = entry["camera"]
    assert camera["frames"] == sum(camera["by_camera"]["frames"])
    assert camera["queries"] + camera["dropped"]["hits"] == camera["frames"]
    pictures = {path.name for path in out.glob("*.png")}
    assert pictures == {"camera.png", "latency.png", "server.png"}
    assert "frames dropped, 8 x 100 fps" in capsys.readouterr().out
    # A lighter load than the budget's proves nothing of it.
    assert run_latency(place / "right", "--budget", limits, "--cameras", 1) == 1
    assert "--cameras 1, but the budget" in capsys.readouterr().err


def test_the_highest_rate_is_searched(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    limits = budget(
        tmp_path,
        '{ metric = "throughput.samples_per_s", scenario = "server", min = 1e7 }',
    )
    asked = ("--scenario", "server", "--bound-ms", 20, "--output", tmp_path / "out")
    # Nothing is so fast. On a busy machine even that is in doubt.
    assert run_latency(place / "right", *asked, "--budget", limits) in (1, 3)
    result = json.loads((tmp_path / "out" / "result.json").read_text(encoding="utf-8"))
    search = result["artifacts"]["right"]["server"]["search"]
    assert search["held_queries_per_s"] < search["failed_queries_per_s"] < 1e7
    assert len(search["trials"]) >= 3
    assert "server: queries/s, 99 % within 20 ms" in capsys.readouterr().out
    assert "offline" not in result["artifacts"]["right"]


def test_a_wrong_answer_voids_the_command(
    place: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    calls = count()

    class Failing(OnnxSession):
        def run(self, images: Images) -> Logits:
            scores = dict(super().run(images))
            # After the golden vectors, the untimed pass and the start of the warm-up.
            if next(calls) > 100:
                scores["colour"] = scores["colour"][:, ::-1]
            return scores

    monkeypatch.setattr(session_onnx, "OnnxSession", Failing)
    out = tmp_path / "out"
    assert run_latency(place / "right", "--scenario", "single-stream", "--output", out) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "error: the engine answered crop 0 of batch" in printed.err
    assert "the run is void" in printed.err
    assert not out.exists()


def test_cold_start_and_memory(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    quick = ["--duration", "0.1", "--cold-starts", "2", "--tries", "1"]
    assert latency.main([str(place / "right"), *quick]) == 0
    rows = {
        cells[1].strip(): cells[2].strip()
        for cells in (line.split("|") for line in capsys.readouterr().out.splitlines())
        if len(cells) > 2
    }
    assert rows["cold start p50, ms"] == "- (2 queries)"  # too few to say
    assert rows["PSS, MB"] == "-" or 10 < float(rows["PSS, MB"]) < 120


@pytest.mark.parametrize("option", ["--threads", "--batch", "--duration"])
def test_impossible_latency_options_are_refused(
    place: Path, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert latency.main([str(place / "right"), option, "0"]) == 1
    assert option in capsys.readouterr().err


@pytest.mark.parametrize("command", [accuracy, latency])
def test_wrong_usage_exits_with_2(command: object, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--no-such-option"]) == 2
    assert command.main(["--help"]) == 0
    assert "Exit codes" not in capsys.readouterr().err


def test_output_that_exists_is_refused_before_anything_is_measured(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("keep")
    arguments = (place / "right", "--data", place / "test", "--output", tmp_path / "out")
    assert run_accuracy(*arguments) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert run_accuracy(*arguments, "--overwrite") == 0
    assert not (tmp_path / "out" / "mine.txt").exists()


def test_openvino_answers_like_onnxruntime(place: Path, tmp_path: Path) -> None:
    require("openvino")
    write_artifact(tmp_path / "openvino", NETWORK, engine="openvino")
    limits = budget(tmp_path, '{ metric = "versus.flips", max = 0.1 }')
    artifacts = (place / "right", tmp_path / "openvino")
    assert run_accuracy(*artifacts, "--data", place / "test", "--budget", limits) == 0


@pytest.mark.parametrize("command", [accuracy, latency])
def test_missing_tyro_is_told(
    command: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tyro", None)
    assert command.main(["artifact"]) == 1
    assert "pip install 'headlight[bench]'" in capsys.readouterr().err


def test_every_measured_metric_is_documented(place: Path, tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "budgets.md").read_text(encoding="utf-8")
    loads = Loads(rate=500.0, cameras=8, fps=100)
    plan = Plan(
        threads=1,
        batch=1,
        duration_s=0.05,
        tries=1,
        cold_starts=1,
        scenarios=[*SCENARIOS],
        loads=loads,
    )
    speed = measure_speed(place / "right", plan)
    crops = read_labelled(place / "test", SMALL_SCHEMA)
    with open_engine(place / "right") as (manifest, session):
        logits = score_crops(session, manifest.input, crops)
    point = fit_operating_point(SMALL_SCHEMA, logits, crops.targets)
    found = assess(SMALL_SCHEMA, logits, crops.targets, point)
    measured = [*speed.measurements(), *found.measurements()]
    measured += difference(found, found).measurements()
    made = set[str]()
    for measurement in measured:
        kind = kind_of(measurement.metric)
        assert kind is not None, measurement.metric
        assert measurement.stat in kind.stats, measurement.metric
        assert measurement.scenario in (kind.scenarios or (None,)), measurement.metric
        made.add(re.sub(r"(head|reading)\.\w+", r"\1.*", measurement.metric))
        name = re.sub(r"(head|reading)\.\w+", r"\1.NAME", measurement.metric)
        name = name.replace("accuracy.head.NAME.m", ".m")  # ``.map`` stands beside the first one
        assert name in text, measurement.metric
        assert measurement.stat in text
        assert measurement.scenario is None or f"`{measurement.scenario}`" in text
    # What takes a sensor, a GPU, files of pictures or a second artifact.
    elsewhere = {"size.gpu_mb", "latency.picture_ms"}
    elsewhere |= {metric for metric in METRICS if metric.startswith(("energy.", "speedup."))}
    assert made | elsewhere == {*METRICS}
