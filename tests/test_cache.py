"""The cache: what was kept is found again whole, or not at all."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from edgekit import _cache
from edgekit._cache import Cache, default_root, key, open_cache, tool_versions
from edgekit._values import DimRange
from edgekit.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Callable


def entry_of(cache: Cache, stage: str = "stage", name: str = "a") -> Path:
    found = cache.get(stage, name)
    assert found is not None
    return found


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache", "salt")


def write(text: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        (folder / "deep").mkdir()
        (folder / "deep" / "file.txt").write_text(text)

    return make


def test_a_key_is_the_sha256_of_canonical_json() -> None:
    assert (
        key("a", {"b": 1, "a": [True, None]}) == hashlib.sha256(b'["a",{"a":[true,null],"b":1}]').hexdigest()
    )


def test_a_key_does_not_depend_on_the_order_of_names_but_on_values_and_types() -> None:
    assert key({"a": 1, "b": 2}) == key({"b": 2, "a": 1})
    assert key({"x", "y"}) == key({"y", "x"})
    assert (
        len({key(1), key("1"), key([1]), key(b"1"), key(1, 1), key(DimRange(1, 1)), key(frozenset([1]))}) == 7
    )


@pytest.mark.parametrize("part", [Path("a"), object(), {1: 2}, float("nan"), float("inf")])
def test_a_place_or_a_number_that_is_none_cannot_be_in_a_key(part: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        key(part)


def test_an_entry_is_made_once_and_found_again(cache: Cache) -> None:
    calls = []

    def make(folder: Path) -> None:
        calls.append(folder)
        write("one")(folder)

    first = cache.folder("stage", "a", make)
    assert cache.folder("stage", "a", make) == first
    assert (first / "deep" / "file.txt").read_text() == "one"
    assert len(calls) == 1


def test_other_tools_do_not_see_the_entry(cache: Cache) -> None:
    cache.folder("stage", "a", write("one"))
    assert Cache(cache.root, "newer tools").get("stage", "a") is None


def test_files_and_folders_can_be_put(cache: Cache, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "x").write_text("x")
    assert (cache.put("stage", "a", tmp_path / "source") / "x").read_text() == "x"
    assert (cache.put("stage", "b", tmp_path / "source" / "x") / "x").read_text() == "x"


@pytest.mark.parametrize("damage", ["changed", "added", "lost", "link", "no list", "odd list"])
def test_a_damaged_entry_is_dropped_and_made_again(cache: Cache, damage: str) -> None:
    file = cache.folder("stage", "a", write("one")) / "deep" / "file.txt"
    mark = file.parents[2] / "entry.json"
    if damage == "changed":
        file.write_text("two")
    elif damage == "added":
        (file.parent / "new").write_text("")
    elif damage == "lost":
        file.unlink()
    elif damage == "link":
        file.rename(file.with_name("there"))
        file.symlink_to("there")
    else:
        mark.write_text("{" if damage == "no list" else "[]")
    assert cache.get("stage", "a") is None
    assert not mark.parent.exists()
    assert (cache.folder("stage", "a", write("one")) / "deep" / "file.txt").read_text() == "one"


def test_a_failed_stage_leaves_nothing(cache: Cache) -> None:
    def fail(folder: Path) -> None:
        write("half")(folder)
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        cache.folder("stage", "a", fail)
    assert [path for path in cache.root.rglob("*") if path.is_file()] == []


def test_runs_beside_each_other_end_with_one_whole_entry(cache: Cache) -> None:
    gate = threading.Barrier(4)
    results = []

    def make(folder: Path) -> None:
        gate.wait(timeout=10)
        write("same")(folder)

    threads = [
        threading.Thread(target=lambda: results.append(cache.folder("stage", "a", make))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [entry_of(cache)] * 4
    assert list((cache.root / "v1").glob(".tmp-*")) == []


def test_the_least_recently_used_entries_leave_when_the_cache_is_full(tmp_path: Path) -> None:
    cache = Cache(tmp_path, "salt")
    for age, name in [(9000, "oldest"), (8000, "old"), (7000, "newer")]:
        mark = cache.folder("stage", name, write("x" * 100)).parent / "entry.json"
        then = mark.stat().st_mtime - age
        os.utime(mark, (then, then))
    entry_of(cache, name="oldest")  # used just now
    Cache(tmp_path, "salt", max_bytes=250).folder("stage", "last", write("x" * 100))
    assert cache.get("stage", "old") is None
    assert cache.get("stage", "newer") is None
    assert cache.get("stage", "oldest") is not None
    assert cache.get("stage", "last") is not None


def test_nothing_but_the_caches_own_entries_is_ever_evicted(tmp_path: Path) -> None:
    (tmp_path / "v1" / "stage" / "mine").mkdir(parents=True)
    (tmp_path / "v1" / "stage" / "mine" / "thesis.txt").write_text("x" * 1000)
    (tmp_path / "thesis.txt").write_text("x" * 1000)
    Cache(tmp_path, "salt", max_bytes=1).folder("stage", "a", write("one"))
    assert len(list(tmp_path.rglob("thesis.txt"))) == 2


def test_what_a_killed_run_left_is_cleared_a_day_later(cache: Cache) -> None:
    stale, fresh = cache.root / "v1" / ".tmp-stale", cache.root / "v1" / ".tmp-fresh"
    stale.mkdir(parents=True)
    fresh.mkdir()
    os.utime(stale, (0, 0))
    cache.folder("stage", "a", write("one"))
    assert (stale.exists(), fresh.exists()) == (False, True)


def test_off_is_a_cache_that_nobody_finds_afterwards() -> None:
    with open_cache("off") as cache:
        kept = cache.folder("stage", "a", write("one"))
        assert cache.get("stage", "a") == kept
    assert not kept.exists()


def test_a_cache_that_cannot_be_written_is_refused_with_a_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="--no-cache"), open_cache(str(tmp_path / "file")):
        pass


def test_a_full_disk_is_told_as_such(cache: Cache) -> None:
    def make(folder: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match=r"No space left on device.*--no-cache"):
        cache.folder("stage", "a", make)


def test_the_environment_says_where_the_cache_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.delenv("EDGEKIT_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert default_root() == Path("/home/someone/.cache/edgekit")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert default_root() == Path("/xdg/edgekit")
    monkeypatch.setenv("EDGEKIT_CACHE", "/own")
    assert default_root() == Path("/own")


def test_an_edited_source_file_changes_the_code_digest(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "a.py").write_text("x = 1")
    monkeypatch.setattr(_cache, "__file__", str(tmp_path / "a.py"))
    before = _cache.code_digest.__wrapped__()
    (tmp_path / "a.py").write_text("x = 2")
    assert _cache.code_digest.__wrapped__() != before


def test_tool_versions_are_those_of_the_installed_packages() -> None:
    import onnx

    assert tool_versions()["onnx"] == onnx.__version__
