"""Bundles that somebody changed or made to harm: each is refused, with the file and the rule."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import pickle
import tarfile
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit._bundle import BundleDraft, ComponentDraft, Limits, open_bundle, write_archive, write_bundle
from edgekit._bundle.names import check_component, check_names
from edgekit._bundle.npy import read_npy, write_npy
from edgekit._values import Artifact, Device, TensorInfo
from edgekit._verify import Golden, GoldenSample
from edgekit.errors import BundleError

X = np.arange(4, dtype=np.float32)


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    built = tmp_path / "built"
    built.mkdir()
    (built / "model.onnx").write_bytes(b"model" * 100)
    component = ComponentDraft(
        name="model",
        source_sha256="0" * 64,
        inputs=(TensorInfo("x", "float32", (4,)),),
        outputs=(TensorInfo("y", "float32", (4,)),),
        golden=Golden("model", "samples", (GoldenSample({"x": X}, {"y": X}),)),
    )
    draft = BundleDraft(
        device=Device("toy-board", "Toy", "toy", "toykit-1", {}),
        target="toy",
        built=built,
        artifacts=(Artifact("model", "fp32", "model.onnx", ("model.onnx",), "toyrt"),),
        components=(component,),
        parities=(),
        samples="none",
    )
    write_bundle(draft, tmp_path / "out")
    return tmp_path / "out"


def reseal(manifest: dict[str, Any]) -> bytes:
    """What an attacker can do: write a manifest whose seal fits. (As docs/bundle.md says.)"""

    def text(value: dict[str, Any]) -> bytes:
        return (json.dumps(value, sort_keys=True, indent=1) + "\n").encode()

    manifest.pop("seal", None)
    return text(manifest | {"seal": hashlib.sha256(text(manifest)).hexdigest()})


def forge(bundle: Path, change: Any) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    change(manifest)
    (bundle / "manifest.json").write_bytes(reseal(manifest))


def refused(bundle: Path, told: str, limits: Limits | None = None) -> None:
    with pytest.raises(BundleError, match=told), open_bundle(bundle, limits):
        pytest.fail("it was opened")


def test_the_untouched_bundle_opens_also_when_resealed_by_the_test(bundle: Path) -> None:
    forge(bundle, lambda manifest: None)
    with open_bundle(bundle) as opened:
        assert opened.target == "toy"


def test_any_changed_byte_of_any_file_is_noticed(bundle: Path) -> None:
    for path in sorted(path for path in bundle.rglob("*") if path.is_file()):
        kept = path.read_bytes()
        for place in sorted({0, len(kept) // 3, len(kept) // 2, len(kept) - 1}):
            path.write_bytes(kept[:place] + bytes([kept[place] ^ 1]) + kept[place + 1 :])
            refused(bundle, path.name)
        path.write_bytes(kept)
    with open_bundle(bundle):
        pass


def test_every_byte_of_the_manifest_is_sealed(bundle: Path) -> None:
    path = bundle / "manifest.json"
    kept = path.read_bytes()
    for place in range(0, len(kept), 37):
        path.write_bytes(kept[:place] + bytes([kept[place] ^ 1]) + kept[place + 1 :])
        refused(bundle, r"manifest\.json")


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + b"\0", lambda data: b""])
def test_a_shortened_or_lengthened_file_is_noticed(bundle: Path, change: Any) -> None:
    path = bundle / "model.onnx"
    path.write_bytes(change(path.read_bytes()))
    refused(bundle, r"'model\.onnx': \d+ bytes instead of 500")


def test_an_added_and_a_removed_file_are_noticed(bundle: Path) -> None:
    (bundle / "extra.so").write_bytes(b"x")
    refused(bundle, r"'extra\.so' is not in manifest\.json")
    (bundle / "extra.so").unlink()
    (bundle / "README.md").unlink()
    refused(bundle, r"'README\.md' is missing")


def test_links_and_special_files_are_refused(bundle: Path, tmp_path: Path) -> None:
    model = bundle / "model.onnx"
    model.rename(tmp_path / "aside.onnx")
    model.symlink_to(tmp_path / "aside.onnx")
    refused(bundle, r"'model\.onnx' is a link")
    model.unlink()
    os.mkfifo(model)
    refused(bundle, r"'model\.onnx' is a link or no plain file")
    model.unlink()
    (bundle / "golden").rename(tmp_path / "golden")
    (bundle / "golden").symlink_to(tmp_path / "golden")
    refused(bundle, "'golden' is a link")


def test_a_manifest_that_is_a_link_is_refused(bundle: Path, tmp_path: Path) -> None:
    (bundle / "manifest.json").rename(tmp_path / "m.json")
    (bundle / "manifest.json").symlink_to(tmp_path / "m.json")
    refused(bundle, r"manifest\.json is no file")


UNSAFE = [
    "../secret",
    "a/../../secret",
    "/etc/passwd",
    "a//b",
    "a/./b",
    "",
    "a\\b",
    "C:x",
    "nul",
    "COM1.txt",
    ".hidden",
    "-rf",
    "a\nb",
    "a\x00b",
    "x.",
    "ä",
    "a/b/c/d/e/f/g/h/i",
    "x" * 300,
]


@pytest.mark.parametrize("name", UNSAFE)
def test_a_name_that_climbs_or_surprises_is_refused(bundle: Path, tmp_path: Path, name: str) -> None:
    secret = b"secret"
    (tmp_path / "secret").write_bytes(secret)
    row = {"sha256": hashlib.sha256(secret).hexdigest(), "size": len(secret), "executable": False}
    forge(bundle, lambda manifest: manifest["files"].update({name: row}))
    refused(bundle, "bundle file name")


def test_names_that_are_one_file_elsewhere_are_refused() -> None:
    with pytest.raises(BundleError, match="one file"):
        check_names(["a/B", "a/b"])
    with pytest.raises(BundleError, match="under another file"):
        check_names(["a", "a/b"])


@pytest.mark.parametrize("name", ["", "..", "a/b", "A", "con", "-x", "a b", "x" * 65])
def test_a_component_name_that_cannot_be_a_folder_is_refused(name: str) -> None:
    with pytest.raises(BundleError, match="component name"):
        check_component(name)


CHANGES = [
    (lambda m: m.update(surprise=1), "/surprise: is unknown"),
    (lambda m: m.update(sample="none"), "near 'samples'"),
    (lambda m: m.pop("tools"), "/tools: is missing"),
    (lambda m: m.update(version=2), "version 2 is not 1"),
    (lambda m: m.update(version=True), "version True|must be"),
    (lambda m: m.update(schema="other"), "no edgekit manifest"),
    (lambda m: m["files"]["model.onnx"].update(size=-1), "at least 0"),
    (lambda m: m["files"]["model.onnx"].update(size=1.5), "must be integer"),
    (lambda m: m["files"]["model.onnx"].update(size=True), "must be integer"),
    (lambda m: m["files"]["model.onnx"].update(sha256="0" * 64 + "\n"), "must match"),
    (lambda m: m["files"]["model.onnx"].update(size=1 << 60), "more than"),
    (lambda m: m.update(target="x\x1b[2J"), "must match"),
    (lambda m: m["artifacts"][0].update(variant="int4"), "must be one of"),
    (lambda m: m["artifacts"][0].update(main="../../etc/passwd"), "not in its own files"),
    (lambda m: m["artifacts"][0].update(main="model"), "not in its own files"),
    (lambda m: m["artifacts"][0].update(files=[]), "not in its own files"),
    (lambda m: m["artifacts"][0].update(component="other"), "has no component"),
    (lambda m: m.update(documents=["/etc/passwd"]), "speaks of"),
    (lambda m: m["components"][0]["golden"]["samples"][0]["fp32"].update(y="/etc/passwd"), "speaks of"),
    (lambda m: m["components"][0].update(calibration={"file": "../x", "digest": ""}), "speaks of"),
    (lambda m: m["components"][0].update(name="../x"), "must match"),
]


@pytest.mark.parametrize(("change", "told"), CHANGES)
def test_a_manifest_outside_its_schema_is_refused(bundle: Path, change: Any, told: str) -> None:
    forge(bundle, change)
    refused(bundle, told)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"{",
        b"\xff\xfe",
        b'{"schema": "edgekit.bundle", "schema": "edgekit.bundle"}',
        b'{"schema": NaN}',
        b"[" * 200_000,
        b'{"schema": ' + b"9" * 100_000 + b"}",
    ],
)
def test_json_that_harms_parsers_is_refused(bundle: Path, text: bytes) -> None:
    (bundle / "manifest.json").write_bytes(text)
    refused(bundle, r"manifest\.json")


def test_a_manifest_with_other_white_space_is_refused(bundle: Path) -> None:
    path = bundle / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text())))
    refused(bundle, "seal does not match")


def test_limits_stop_large_bundles_before_they_are_read(bundle: Path) -> None:
    refused(bundle, "no file of at most 10 bytes", Limits(manifest_bytes=10))
    refused(bundle, "more than 1 files", Limits(files=1))
    refused(bundle, "or 100 bytes", Limits(total_bytes=100))


def test_a_folder_without_manifest_and_a_path_without_anything_are_no_bundles(tmp_path: Path) -> None:
    refused(tmp_path, "has no manifest")
    refused(tmp_path / "nothing", "no bundle folder and no archive")


# Tensor files


def npy(header: str, data: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    text = header.encode() + b"\n"
    return b"\x93NUMPY" + version + len(text).to_bytes(2, "little") + text + data


class Bomb:
    def __reduce__(self) -> Any:
        return (os.system, ("touch /tmp/edgekit-test-was-unpickled",))


HEADER = "{'descr': '%s', 'fortran_order': %s, 'shape': %s}"
TENSORS = [
    (npy(HEADER % ("<f4", "False", "(4,)"), X.tobytes()[:-1]), "declares 16 bytes and holds 15"),
    (npy(HEADER % ("<f4", "False", "(4,)"), X.tobytes() + b"\0"), "declares 16 bytes and holds 17"),
    (npy(HEADER % ("|O", "False", "(1,)"), pickle.dumps([Bomb()])), "no plain number"),
    (npy(HEADER % ("<U4", "False", "(1,)"), bytes(16)), "no plain number"),
    (npy(HEADER % ("<f4", "False", "(1000000, 1000000, 1000000)")), "more than"),
    (npy(HEADER % ("<f4", "False", "(-4,)"), X.tobytes()), "not allowed"),
    (npy(HEADER % ("<f4", "True", "(2, 2)"), X.tobytes()), "not allowed"),
    (npy(HEADER % ("<f4", "False", "(True,)"), X.tobytes()), "holds|not allowed|damaged"),
    (npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (4,)}", X.tobytes()), "no plain number"),
    (npy("__import__('os').system('true')"), "damaged"),
    (npy("(" * 9_000), "damaged"),
    (npy("{" + " " * 60_000 + "}"), "damaged"),
    (npy(HEADER % ("<f4", "False", "(4,)"), X.tobytes(), b"\x02\x00"), "format"),
    (b"\x93NUMPY", "damaged"),
    (b"", "damaged"),
    (pickle.dumps(Bomb()), "damaged"),
]


@pytest.mark.parametrize(("data", "told"), TENSORS)
def test_a_harmful_tensor_file_is_refused_without_allocating(tmp_path: Path, data: bytes, told: str) -> None:
    path = tmp_path / "t.npy"
    path.write_bytes(data)
    tracemalloc.start()
    with pytest.raises(BundleError, match=rf"t\.npy.*({told})"):
        read_npy(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20 << 20
    assert not Path("/tmp/edgekit-test-was-unpickled").exists()


@pytest.mark.parametrize("dtype", ["?", "i1", "u1", "i4", "i8", "f2", "f4", "f8", ">f4"])
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3)])
def test_tensor_files_come_back_and_numpy_reads_them(tmp_path: Path, dtype: str, shape: Any) -> None:
    array = np.ones(shape, dtype)
    write_npy(tmp_path / "t.npy", array, name="t")
    got = read_npy(tmp_path / "t.npy")
    plain = np.load(tmp_path / "t.npy", allow_pickle=False)
    assert got.shape == plain.shape == array.shape
    assert got.tolist() == plain.tolist() == array.tolist()


def test_a_bundle_with_a_pickled_golden_tensor_is_refused_when_read(bundle: Path) -> None:
    name = "golden/model/000/inputs-0.npy"
    data = TENSORS[2][0]
    (bundle / name).write_bytes(data)
    row = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "executable": False}
    forge(bundle, lambda manifest: manifest["files"].update({name: row}))
    with open_bundle(bundle) as opened, pytest.raises(BundleError, match="no plain number"):
        opened.golden("model")


# Archives


def members_of(bundle: Path) -> list[tuple[str, bytes]]:
    files = {
        path.relative_to(bundle).as_posix(): path.read_bytes() for path in bundle.rglob("*") if path.is_file()
    }
    first = files.pop("manifest.json")
    return [("b/manifest.json", first), *((f"b/{name}", data) for name, data in sorted(files.items()))]


def pack_tar(path: Path, members: list[Any]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, data in members:
            if isinstance(name, tarfile.TarInfo):
                tar.addfile(name, io.BytesIO(data))
            else:
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    return path


def pack_zip(path: Path, members: list[Any]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return path


PACKERS = pytest.mark.parametrize("pack", [pack_tar, pack_zip])


@PACKERS
def test_a_plainly_packed_bundle_opens(bundle: Path, tmp_path: Path, pack: Any) -> None:
    with open_bundle(pack(tmp_path / "b.tgz", members_of(bundle))) as opened:
        assert opened.golden("model").samples[0].feeds["x"].tolist() == X.tolist()
        unpacked = opened.folder
    assert not unpacked.exists()


@PACKERS
@pytest.mark.parametrize("name", ["../evil", "b/../../evil", "/tmp/edgekit-evil", "b/evil", "c/README.md"])
def test_a_member_outside_the_manifest_is_refused(bundle: Path, tmp_path: Path, pack: Any, name: str) -> None:
    refused(pack(tmp_path / "b.tgz", [*members_of(bundle), (name, b"evil")]), "is not in its manifest")
    assert not list(tmp_path.rglob("*evil*"))
    assert not Path("/tmp/edgekit-evil").exists()


@PACKERS
def test_a_member_that_stands_twice_is_refused(bundle: Path, tmp_path: Path, pack: Any) -> None:
    members = members_of(bundle)
    refused(pack(tmp_path / "b.tgz", [*members, members[1]]), "stands twice")


@PACKERS
def test_a_missing_member_and_a_changed_one_are_refused(bundle: Path, tmp_path: Path, pack: Any) -> None:
    members = members_of(bundle)
    refused(pack(tmp_path / "a.tgz", members[:-1]), "is missing")
    name, data = members[-1]
    refused(pack(tmp_path / "b.tgz", [*members[:-1], (name, data + b"x")]), "instead of")
    refused(pack(tmp_path / "c.tgz", [*members[:-1], (name, b"x" * len(data))]), "sha256")


@PACKERS
def test_the_manifest_comes_first_or_nothing_is_unpacked(bundle: Path, tmp_path: Path, pack: Any) -> None:
    refused(pack(tmp_path / "b.tgz", members_of(bundle)[::-1]), "first member")
    refused(pack(tmp_path / "c.tgz", []), "first member")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_a_tar_link_or_device_is_refused(bundle: Path, tmp_path: Path, kind: bytes) -> None:
    link = tarfile.TarInfo("b/model.onnx")
    link.type, link.linkname = kind, "/etc/passwd"
    members = [member for member in members_of(bundle) if member[0] != "b/model.onnx"]
    refused(pack_tar(tmp_path / "b.tgz", [*members, (link, b"")]), "link or no plain file")


def test_a_zip_link_is_refused(bundle: Path, tmp_path: Path) -> None:
    link = zipfile.ZipInfo("b/model.onnx")
    link.external_attr = 0o120777 << 16
    members = [member for member in members_of(bundle) if member[0] != "b/model.onnx"]
    refused(pack_zip(tmp_path / "b.zip", [*members, (link, b"/etc/passwd")]), "is a link")


@PACKERS
def test_a_bomb_is_refused_before_it_is_unpacked(bundle: Path, tmp_path: Path, pack: Any) -> None:
    data = bytes(64 << 20)
    row = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "executable": False}
    forge(bundle, lambda manifest: manifest["files"].update({"zeros.bin": row}))
    archive = pack(tmp_path / "b.tgz", [*members_of(bundle), ("b/zeros.bin", data)])
    assert archive.stat().st_size < 1 << 20
    refused(archive, "it unpacks to", Limits(small_bytes=1 << 20))


def test_a_tar_header_that_declares_gigabytes_is_not_read(tmp_path: Path) -> None:
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 4 << 30
    path = tmp_path / "b.tgz"
    path.write_bytes(gzip.compress(header.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 20)))
    tracemalloc.start()
    refused(path, "header of")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20 << 20


@pytest.mark.parametrize("ending", [".tar.gz", ".zip"])
def test_a_truncated_or_scrambled_archive_is_refused(bundle: Path, tmp_path: Path, ending: str) -> None:
    archive = tmp_path / f"b{ending}"
    write_archive(bundle, archive)
    whole = archive.read_bytes()
    for cut in (0, 1, 10, len(whole) // 2, len(whole) - 9):
        archive.write_bytes(whole[:cut])
        refused(archive, "archive refused|manifest")
    readable = 0
    places = range(30, len(whole) - 30, 211)
    for place in places:
        archive.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            with open_bundle(archive):  # a byte that no reader looks at (a time, a mode)
                readable += 1
        except BundleError:
            pass
    assert readable < len(places) / 4
