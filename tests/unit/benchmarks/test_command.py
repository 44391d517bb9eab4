"""What every command line does with options, errors and Ctrl-C."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from benchmarks.command import require_packages, run_command, say
from runtime.errors import ConfigError, DataError, HeadlightError, MissingExtraError

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Config:
    """Add things."""

    number: int
    """A number."""
    name: str = "x"

    def __post_init__(self) -> None:
        if self.number < 0:
            raise ConfigError("number must be >= 0")


def run(argv: list[str], work: Callable[[Config], int] = lambda _: 0) -> int:
    return run_command(argv, Config, work, prog="python -m things.add")


def test_options_reach_the_work_and_its_code_comes_back() -> None:
    seen: list[Config] = []

    def work(config: Config) -> int:
        seen.append(config)
        return 3

    assert run(["--number", "4", "--name", "y"], work) == 3
    assert seen == [Config(4, "y")]


def test_defaults_may_depend_on_other_options() -> None:
    seen: list[Config] = []

    def work(config: Config) -> int:
        seen.append(config)
        return 0

    def named(config: Config) -> Config:
        return replace(config, name=f"n{config.number}")

    for words in (["--number", "4"], ["--number", "4", "--name", "x"]):
        assert run_command(words, Config, work, prog="add", defaults=named) == 0
    # What was given counts, also where it is what the default is.
    assert [config.name for config in seen] == ["n4", "x"]


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    program = (
        "from tests.unit.benchmarks.test_command import Config, run\n"
        "raise SystemExit(run(['--number', '1'], lambda _: print('x' * 1_000_000) or 0))"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    )
    assert child.stdout is not None
    assert child.stderr is not None
    child.stdout.read(1)
    child.stdout.close()
    assert child.stderr.read() == b""
    child.stderr.close()
    assert child.wait() == 1


def test_another_pipe_that_breaks_is_told() -> None:
    def work(_: Config) -> int:
        raise BrokenPipeError("a camera's")

    with pytest.raises(BrokenPipeError, match="a camera's"):
        run(["--number", "1"], work)


def test_wrong_usage_is_2_and_help_is_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--number", "four"]) == 2
    assert run([]) == 2
    assert run(["--number", "1", "--nmae", "y"]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "--number" in told.err
    assert run(["--help"]) == 0
    assert "python -m things.add" in capsys.readouterr().out


@pytest.mark.parametrize("kind", [DataError, MissingExtraError, HeadlightError])
def test_expected_failures_are_1_and_one_line(
    capsys: pytest.CaptureFixture[str], kind: type[HeadlightError]
) -> None:
    def work(_: Config) -> int:
        raise kind("the list is empty; write one")

    assert run(["--number", "1"], work) == 1
    assert capsys.readouterr() == ("", "error: the list is empty; write one\n")


def test_an_option_that_cannot_work_is_an_expected_failure(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["--number", "-1"]) == 1
    assert capsys.readouterr().err == "error: number must be >= 0\n"


def test_ctrl_c_is_1(capsys: pytest.CaptureFixture[str]) -> None:
    def work(_: Config) -> int:
        raise KeyboardInterrupt

    assert run(["--number", "1"], work) == 1
    assert capsys.readouterr().err.startswith("error: interrupted; ")


def test_work_may_leave_by_exit_codes() -> None:
    def work(config: Config) -> int:
        raise SystemExit({0: None, 1: "told", 5: 5}[config.number])

    assert [run(["--number", str(n)], work) for n in (0, 1, 5)] == [0, 1, 5]


def test_a_mistake_of_ours_keeps_its_traceback() -> None:
    def work(_: Config) -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(["--number", "1"], work)


def test_talk_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    say("hello")
    assert capsys.readouterr() == ("", "hello\n")


# ---- extras that are not installed ------------------------------------------------------------


def test_packages_that_are_there_are_not_imported() -> None:
    before = set(sys.modules)
    require_packages("bench", "sqlite3", "numpy")
    assert set(sys.modules) == before


def test_importers_get_an_error_that_they_can_catch() -> None:
    with pytest.raises(MissingExtraError, match=r"'nowhere' is not .* 'headlight\[train\]'"):
        require_packages("train", "numpy", "nowhere", "elsewhere")


def test_without_tyro_a_command_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tyro", None)
    assert run(["--number", "1"]) == 1
    assert "error: package 'tyro' is not installed; run: pip install 'headlight[bench]'" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("command", "package", "extra"),
    [
        ("train.fit", "torch", "train"),
        ("train.evaluate", "safetensors", "train"),
        ("compress.quantize", "tyro", "compress"),
        ("export.openvino", "torch", "export"),
        ("benchmarks.accuracy", "tyro", "bench"),
    ],
)
def test_commands_without_their_extra_end_with_one_line(
    tmp_path: Path, command: str, package: str, extra: str
) -> None:
    # sitecustomize runs before everything else: the package then cannot be found by anyone.
    hide = f"import sys\nsys.modules[{package!r}] = None\n"
    (tmp_path / "sitecustomize.py").write_text(hide, encoding="utf-8")
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-m", command, "--help"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    message = f"error: package {package!r} is not installed; run: pip install 'headlight[{extra}]'"
    assert done.stderr.splitlines()[0].startswith(message)
    assert len(done.stderr.splitlines()) == 1


@dataclass(frozen=True)
class Inner:
    """Nested options."""

    extra: tuple[Path, ...] = ()
    """Also read."""


@dataclass(frozen=True)
class Replacing:
    """Read and write."""

    data: Path
    """What is read."""
    output: Path
    """What is made."""
    inner: Inner = field(default_factory=Inner)
    """More."""
    overwrite: bool = False
    """Replace the output."""


@pytest.mark.parametrize("place", ["out", "out/below", "link"])
@pytest.mark.parametrize("option", ["--data", "--inner.extra"])
def test_what_is_read_is_never_replaced(
    tmp_path: Path, place: str, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out" / "below").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "out" / "below")
    read = {"--data": tmp_path / "data", option: tmp_path / place}
    (tmp_path / "data").mkdir()
    words = [str(word) for pair in read.items() for word in pair]

    def replaced(*more: str) -> int:
        argv = [*words, "--output", str(tmp_path / "out"), *more]
        return run_command(argv, Replacing, lambda _: 0, prog="replace")

    assert replaced("--overwrite") == 1
    told = capsys.readouterr().err
    assert f"--output {tmp_path / 'out'} would be replaced, and {tmp_path / place}" in told
    assert replaced() == 0  # whoever writes refuses what is there


def test_outputs_beside_and_inside_of_what_is_read_may_be_replaced(tmp_path: Path) -> None:
    for name in ("data", "data/out", "data-out"):
        (tmp_path / name).mkdir()
        argv = ["--data", str(tmp_path / "data"), "--output", str(tmp_path / name), "--overwrite"]
        assert run_command(argv, Replacing, lambda _: 0, prog="replace") == (name == "data")


def test_what_is_made_anew_may_be_read_from_the_output(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    argv = ["--data", str(tmp_path), "--output", str(tmp_path / "out"), "--overwrite"]
    argv += ["--inner.extra", str(tmp_path / "out")]

    def replaced(*renewed: str) -> int:
        return run_command(argv, Replacing, lambda _: 0, prog="replace", renewed=renewed)

    assert (replaced(), replaced("data"), replaced("inner")) == (1, 1, 0)


def test_a_full_disk_is_an_error_and_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    def work(_: Config) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "out/model.onnx")

    assert run(["--number", "1"], work) == 1
    assert (
        capsys.readouterr().err == "error: [Errno 28] No space left on device: 'out/model.onnx'\n"
    )
