"""Kills, full disks and folders in the way: a convert leaves whole bundles or nothing, and says why."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.converted import (
    BOTH,
    JETSON,
    ORT,
    command_line,
    is_root,
    make_workspace,
    read_tree,
    run,
    run_apart,
)

if TYPE_CHECKING:
    from pathlib import Path

    Words = tuple[str, ...]


# Stands in for a full disk: no file grows beyond 3000 bytes.
SMALL_FILES = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace whose cache holds the whole convert of `m.onnx`, which lies in `out` too."""
    folder = make_workspace(tmp_path_factory.mktemp("whole"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEKIT_CACHE", str(folder / "cache"))
        assert run(*convert(folder, "out")).exit_code == 0
    return folder


@pytest.fixture(autouse=True)
def cache(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_CACHE", str(place / "cache"))


def convert(place: Path, output: str) -> Words:
    model, data, out = (str(place / name) for name in ("m.onnx", "data", output))
    return ("convert", model, *BOTH, "--samples", data, "-o", out)


def start(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command_line(*words), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize(
    "moment",
    ["calibrate ...", f"{JETSON}: build int8 ...", f"{JETSON}: seal bundle ...", f"{ORT}: prove int8 ..."],
)
def test_a_kill_leaves_no_half_bundle_and_the_next_run_is_whole(
    moment: str, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cold"))
    words = (*convert(place, "out")[:-1], str(tmp_path / "killed"))
    with start(*words) as process:
        assert process.stderr is not None
        assert any(line.strip() == moment for line in process.stderr)
        time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "killed").exists()
    assert run(*words).exit_code == 0
    assert read_tree(tmp_path / "killed") == read_tree(place / "out")


@pytest.mark.parametrize("seconds", [0.05, 0.1, 0.15])
def test_a_kill_while_bundles_are_put_in_place_leaves_whole_ones(
    seconds: float, place: Path, tmp_path: Path
) -> None:
    words = (*convert(place, "out")[:-1], str(tmp_path / "killed"))
    with start(*words) as process:
        assert process.stderr is not None
        assert any(line.strip() == "load model ..." for line in process.stderr)
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
    for name in (JETSON, ORT):
        if (tmp_path / "killed" / name).exists():
            assert run("verify", tmp_path / "killed" / name).exit_code == 0
    assert run(*words).exit_code == 0
    assert read_tree(tmp_path / "killed") == read_tree(place / "out")


def test_a_full_disk_is_named_and_nothing_is_left(place: Path, tmp_path: Path) -> None:
    words = (*convert(place, "out")[:-1], str(tmp_path / "full"))
    done = run_apart(*words, first=SMALL_FILES)
    assert done.returncode == 1
    assert f"error: output '{tmp_path / 'full' / JETSON}' cannot be written: File too large" in done.stderr
    assert "free some space" in done.stderr
    assert len(max(done.stderr.splitlines(), key=len)) < 300
    assert read_tree(tmp_path / "full") == {}


def test_a_full_cache_is_named_and_nothing_is_left(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cold"))
    words = (*convert(place, "out")[:-1], str(tmp_path / "full"))
    done = run_apart(*words, first=SMALL_FILES)
    assert done.returncode == 1
    assert "File too large" in done.stderr
    assert "bug in edgekit" not in done.stderr
    assert not (tmp_path / "full").exists()


def test_a_folder_that_cannot_be_written_is_refused_before_any_work(place: Path, tmp_path: Path) -> None:
    launch: tuple[str, ...] = ()
    if is_root():
        if shutil.which("setpriv") is None:
            pytest.skip("root writes anywhere, and setpriv is not installed")
        launch = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all")
    (tmp_path / "locked").mkdir(mode=0o555)
    done = run_apart(*convert(place, "out")[:-1], tmp_path / "locked" / "out", launch=launch)
    assert done.returncode == 1
    assert f"'{tmp_path / 'locked'}' cannot be written to" in done.stderr
    assert "load model" not in done.stderr
    assert not os.listdir(tmp_path / "locked")  # noqa: PTH208 - nothing but names is wanted


def test_a_folder_that_is_no_bundle_is_refused_before_any_work_even_with_overwrite(place: Path) -> None:
    (place / "mine" / ORT).mkdir(parents=True)
    (place / "mine" / ORT / "thesis.txt").write_text("years of work")
    before = read_tree(place / "mine")
    for more in ((), ("--overwrite",)):
        result = run(*convert(place, "mine"), *more)
        assert result.exit_code == 1
        assert f"mine/{ORT}' exists and is no edgekit bundle" in result.stderr
        assert "load model" not in result.stderr
        assert read_tree(place / "mine") == before


def test_a_file_in_the_place_of_the_output_is_refused(place: Path) -> None:
    (place / "file").write_text("mine")
    for output in ("file", "file/deeper"):
        result = run(*convert(place, output))
        assert result.exit_code == 1
        assert "file' is no folder" in result.stderr
    assert (place / "file").read_text() == "mine"


def test_a_bundle_is_never_written_into_another_one(place: Path) -> None:
    before = read_tree(place / "out")
    result = run(*convert(place, f"out/{ORT}/device"))
    assert result.exit_code == 1
    assert "lies in the bundle" in result.stderr
    assert read_tree(place / "out") == before


def test_another_bundle_in_the_place_is_kept_unless_overwrite_is_given(place: Path) -> None:
    assert run(*convert(place, "kept")).exit_code == 0
    before = read_tree(place / "kept")
    other = (*convert(place, "kept"), "--precision", "fp32")
    result = run(*other)
    assert result.exit_code == 1
    assert "holds another bundle" in result.stderr
    assert "--overwrite" in result.stderr
    assert read_tree(place / "kept") == before
    assert run(*other, "--overwrite").exit_code == 0
    assert not (place / "kept" / ORT / "model.int8.ort").exists()
    assert run("verify", place / "kept" / ORT).exit_code == 0


def test_a_target_that_refuses_leaves_nothing_of_the_others(place: Path) -> None:
    result = run(*convert(place, "refused"), "--precision", "fp16")
    assert result.exit_code == 1
    assert "there is no fp16 variant" in result.stderr
    assert not (place / "refused").exists()


def test_verify_notices_a_changed_an_added_and_a_missing_file_in_folder_and_archive(
    place: Path, tmp_path: Path
) -> None:
    assert run(*convert(place, "packed"), "--archive").exit_code == 0
    archive = place / "packed" / f"{ORT}.tar.gz"
    assert run("verify", archive).exit_code == 0
    data = bytearray(archive.read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "changed.tar.gz").write_bytes(data)
    assert run("verify", tmp_path / "changed.tar.gz").exit_code == 1
    copy = tmp_path / "copy"
    shutil.copytree(place / "out" / ORT, copy)
    weights = bytearray((copy / "model.int8.ort").read_bytes())
    weights[1000] ^= 1
    for name, content, words in (
        ("model.int8.ort", bytes(weights), "its sha256 is not the manifest's"),
        ("extra.txt", b"hello", "'extra.txt' is not in manifest.json"),
        ("scales.json", None, "'scales.json' is missing"),
    ):
        file = copy / name
        old = file.read_bytes() if file.exists() else None
        file.unlink(missing_ok=True)
        if content is not None:
            file.write_bytes(content)
        result = run("verify", copy, "--json")
        assert (result.exit_code, words in result.stderr) == (1, True), result.stderr
        assert json.loads(result.stdout)["error"]["kind"] == "BundleError"
        file.unlink(missing_ok=True)
        if old is not None:
            file.write_bytes(old)
    assert run("verify", copy).exit_code == 0
