"""R8: a hundred swaps under load, some of them bad, some killed: no request is lost or mixed."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from export.sign import sign_artifact
from runtime import EngineError, IntegrityError, QueueOptions, Reader, SignatureError
from runtime.deployment import Deployment, DeploymentOptions
from runtime.golden import load_golden, write_golden
from runtime.manifest import GOLDEN_FILE, MANIFEST_FILE, FileRecord, Manifest
from runtime.probation import ProbationOptions
from runtime.versions import Versions
from tests.engines import ENGINES, require
from tests.reliability.conftest import Count
from tests.reliability.swapping import Oracle, Traffic
from tests.signing import KeyPair, make_keys

pytestmark = [
    pytest.mark.reliability,
    pytest.mark.timeout(900),
    pytest.mark.usefixtures("small_heap"),
]

RATE = 30.0
ROOT = Path(__file__).parents[2]
# Starts from the store as after a power cut, reads one image, and says which version answered.
BOOT = """
import sys; from functools import partial; from pathlib import Path; import numpy as np
from runtime import Reader
from runtime.deployment import Deployment
from runtime.versions import Versions
store, key = map(Path, sys.argv[1:])
with Deployment(Versions(store, key=key), partial(Reader.open, verify=key)) as deployment:
    print(deployment.reader.read(np.zeros((20, 60, 3), np.uint8)).artifact.version)
"""


class Makers:
    """Makes good and bad artifacts of one line of versions."""

    def __init__(self, folder: Path) -> None:
        self.keys = make_keys(folder)
        self.strangers: KeyPair = make_keys(folder, "stranger")
        self.oracle = Oracle()
        self._folder = folder
        self._version = 0

    def good(self) -> Path:
        self._version += 1
        engine = [*ENGINES][self._version // 2 % len(ENGINES)]
        folder = self._folder / f"artifact-{self._version}"
        self.oracle.write(folder, self._version, engine=engine)
        sign_artifact(folder, self.keys.key)
        return folder

    def bad_hash(self) -> Path:
        folder = self.good()
        path = folder / Manifest.load(folder).engine_file
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        return folder

    def bad_signature(self) -> Path:
        folder = self.good()
        (folder / "model.sig").unlink()
        sign_artifact(folder, self.strangers.key)
        return folder

    def failing_self_test(self) -> Path:
        """Signed and whole, but its engine does not say what it said when it was exported."""
        folder = self.good()
        manifest = Manifest.load(folder)
        golden = load_golden(folder / GOLDEN_FILE, manifest.schema, manifest.input)
        others = {name: -scores for name, scores in golden.logits.items()}
        write_golden(folder / GOLDEN_FILE, golden.images, others)
        files = {name: FileRecord.of(folder / name) for name in manifest.files}
        text = replace(manifest, files=files).to_json()
        (folder / MANIFEST_FILE).write_text(text, encoding="utf-8")
        sign_artifact(folder, self.keys.key)
        return folder


def install_command(store: Path, artifact: Path, key: Path) -> list[str]:
    return [sys.executable, "-m", "runtime.install", str(store), str(artifact), "--key", str(key)]


def test_swaps_under_load(tmp_path: Path, count: Count, full: bool) -> None:
    for package in ENGINES.values():
        require(package)
    make = Makers(tmp_path)
    refusals: dict[str, tuple[Callable[[], Path], type[Exception]]] = {
        "bad hash": (make.bad_hash, IntegrityError),
        "bad signature": (make.bad_signature, SignatureError),
        "failing self-test": (make.failing_self_test, EngineError),
    }
    random = np.random.default_rng(8)
    bad = 5 if full else 1
    plan = ["good"] * (80 if full else 4) + [*refusals, "killed"] * bad
    random.shuffle(plan)
    store, key = tmp_path / "store", make.keys.public
    versions = Versions(store, key=key)
    began_s = time.monotonic()
    done = subprocess.run(install_command(store, make.good(), key), cwd=ROOT, check=False)
    install_s = time.monotonic() - began_s
    assert done.returncode == 0
    opened = partial(
        Reader.open, verify=key, keep_scores=True, max_batch=4, queue=QueueOptions(capacity=16)
    )
    options = DeploymentOptions(
        poll_s=0.0, probation=ProbationOptions(watch_s=0.5, min_images=5, max_slowdown=1000)
    )
    ends: Counter[str] = Counter()
    with (
        Deployment(versions, opened, options) as deployment,
        Traffic(lambda: deployment.reader, make.oracle, rate=RATE) as traffic,
    ):
        began_s = time.monotonic()
        for kind in plan:
            before, name = deployment.status().version, deployment.reader.info.name
            if kind == "good":
                deployment.install(make.good())
                ends["swapped"] += 1
            elif kind == "killed":
                delay_s = random.uniform(0.2, 1.1) * install_s
                ends[kill_an_install(store, make.good(), key, delay_s)] += 1
                assert boots(store, key) == Manifest.load(store / "current").version
                deployment.reload()
            else:
                artifact, expected = refusals[kind]
                with pytest.raises(expected):
                    deployment.install(artifact())
                assert (deployment.status().version, versions.current) == (before, before)
                assert deployment.reader.info.name == name
                ends["refused"] += 1
            wait_for_answers(traffic, deployment)
        seconds = time.monotonic() - began_s
        rolled_back = deployment.status().rollbacks
    assert not traffic.failed, traffic.failed[:3]
    assert traffic.wrong == 0
    assert ends["swapped"] == plan.count("good")
    assert ends["refused"] == 3 * bad
    assert traffic.artifacts >= ends["swapped"] + 1
    assert rolled_back == 0
    count(
        "R8",
        swaps=len(plan),
        **{end.replace(" ", "_"): number for end, number in ends.items()},
        seconds=round(seconds),
        requests_per_s=RATE,
        images_answered=traffic.answered,
        requests_failed=len(traffic.failed),
        answers_mixed_or_wrong=traffic.wrong,
        artifacts_that_answered=traffic.artifacts,
        p50_ms=round(traffic.slowest_ms(0.5), 1),
        p99_ms=round(traffic.slowest_ms(0.99), 1),
        max_ms=round(traffic.slowest_ms(1.0), 1),
    )


def wait_for_answers(traffic: Traffic, deployment: Deployment) -> None:
    """Wait until the artifact in use has answered."""
    name = deployment.reader.info.name
    before, until = traffic.seen(name), time.monotonic() + 30
    while traffic.seen(name) == before:
        assert time.monotonic() < until, f"{name} answers nothing; {traffic.failed[:3]}"
        time.sleep(0.01)


def kill_an_install(store: Path, artifact: Path, key: Path, delay_s: float) -> str:
    process = subprocess.Popen(
        install_command(store, artifact, key), cwd=ROOT, stdout=subprocess.DEVNULL
    )
    try:
        process.wait(delay_s)
    except subprocess.TimeoutExpired:
        process.kill()
    return "killed too late" if process.wait() == 0 else "killed"


def boots(store: Path, key: Path) -> int:
    """Start from the store in a new process; return the version that answers."""
    done = subprocess.run(
        [sys.executable, "-c", BOOT, str(store), str(key)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_an_install_killed_at_each_step(tmp_path: Path, count: Count, full: bool) -> None:
    """Between any two operations on files, of every change to a store."""
    require(ENGINES["onnx"])
    done = subprocess.run(
        [sys.executable, "-m", "tests.reliability.killing", str(tmp_path), "1" if full else "5"],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    steps = dict(line.split() for line in done.stdout.splitlines())
    assert {*steps} == {"install", "first", "tidy", "confirm", "reject", "start", "strike"}
    assert int(steps["install"]) > (20 if full else 4)
    count("R8 kill -9 at each step", **{name: int(number) for name, number in steps.items()})


def test_installs_killed_at_any_time(tmp_path: Path, count: Count, full: bool) -> None:
    """Real processes, trial and all, killed at random: the store can always be started from."""
    require(ENGINES["onnx"])
    make = Makers(tmp_path)
    store, key = tmp_path / "store", make.keys.public
    began_s = time.monotonic()
    first = make.good()
    subprocess.run(install_command(store, first, key), cwd=ROOT, check=True)
    install_s = time.monotonic() - began_s
    versions = Versions(store, key=key)
    random = np.random.default_rng(9)
    ends: Counter[str] = Counter()
    kills = 20 if full else 2
    for _ in range(kills):
        delay_s = float(random.uniform(0.1, 1.1)) * install_s
        artifact = make.good()
        ends[kill_an_install(store, artifact, key, delay_s)] += 1
        name = versions.begin_start()
        versions.confirm(name)
        Reader.open(versions.path(name), verify=key).close()
        assert not list(store.rglob("*.partial"))
        shutil.rmtree(artifact)
    assert boots(store, key) == Manifest.load(store / "current").version
    count("R8 kill -9 at random", kills=kills, **{k.replace(" ", "_"): v for k, v in ends.items()})
