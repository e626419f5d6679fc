from __future__ import annotations

import base64
import json
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

import edgekit
from edgekit.errors import BundleError, OutputError, UsageError
from tests.converted import make_bundle, make_workspace, read_tree, run
from tests.package.cut_connection import cutting
from tests.package.registry import free_port, run_registry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.package.registry import RunningRegistry

# `htpasswd -nbB somebody secret`
LOGIN = "somebody:$2y$05$fvZrMaRVss9fjCeF164NeOrV9Qz1RNoZRcOlKvrlrtLwFKx/NdtKC"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("made"))


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[RunningRegistry]:
    with run_registry(tmp_path) as running:
        yield running


def test_a_pushed_bundle_comes_back_byte_for_byte(
    bundle: Path, registry: RunningRegistry, tmp_path: Path
) -> None:
    place = f"oci://{registry.host}/ocr/toy:1.0"
    sent = edgekit.push(bundle, place)
    assert registry.get("/v2/ocr/toy/manifests/1.0") == 200
    back = edgekit.pull(place, tmp_path / "back")
    assert read_tree(back.folder) == read_tree(bundle)
    assert (back.digest, back.bundle) == (sent.digest, sent.bundle)
    assert edgekit.verify(back.folder).passed
    by_digest = edgekit.pull(f"oci://{registry.host}/ocr/toy@{sent.digest}", tmp_path / "again")
    assert by_digest.bundle == sent.bundle


def test_the_same_bundle_is_not_sent_twice_and_another_variant_sends_only_what_differs(
    registry: RunningRegistry, tmp_path: Path
) -> None:
    place = make_workspace(tmp_path)
    small, large = (
        edgekit.convert(place / "m.onnx", targets="jetson-orin", precisions=precisions,
                        samples=place / "data", output=tmp_path / name, cache="off").bundles[0].folder
        for name, precisions in (("small", ("fp16",)), ("large", ("fp16", "int8")))
    )  # fmt: skip
    first = edgekit.push(small, f"oci://{registry.host}/toy:fp16")
    assert (first.kept, first.sent) == (0, len({*read_tree(small).values()}) + 1)
    assert edgekit.push(small, f"oci://{registry.host}/toy:fp16").sent == 0
    second = edgekit.push(large, f"oci://{registry.host}/toy:int8")
    new = set(read_tree(large).values()) - set(read_tree(small).values())
    assert second.sent == len(new) + 1, "its own files and its configuration"
    shared = (small / "model.fp16.onnx").stat().st_size
    assert second.sent_bytes < sum(len(data) for data in read_tree(large).values()) - shared


def test_skopeo_copies_the_packaged_layout_into_the_registry(
    bundle: Path, registry: RunningRegistry, tmp_path: Path
) -> None:
    if shutil.which("skopeo") is None:
        pytest.skip("skopeo is not installed (apt-get install skopeo)")
    made = edgekit.package(bundle, "oci", tmp_path / "layout", name="toy")
    copy = ["skopeo", "--insecure-policy", "copy", "--dest-tls-verify=false", "--preserve-digests"]
    to = f"docker://{registry.host}/copied:1"
    done = subprocess.run(
        [*copy, f"oci:{tmp_path / 'layout'}:toy", to], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    back = edgekit.pull(f"oci://{registry.host}/copied:1", tmp_path / "back")
    assert read_tree(back.folder) == read_tree(bundle)
    assert back.bundle == made.bundle


def test_a_push_that_breaks_off_publishes_nothing_and_the_next_one_sends_the_rest(
    bundle: Path, registry: RunningRegistry, tmp_path: Path
) -> None:
    size = sum(len(data) for data in read_tree(bundle).values())
    with cutting(registry.host, size // 2) as way, pytest.raises(OutputError, match="broke off") as told:
        edgekit.push(bundle, f"oci://{way}/toy:1")
    assert "again" in (told.value.fix or "")
    assert registry.get("/v2/toy/manifests/1") == 404
    rest = edgekit.push(bundle, f"oci://{registry.host}/toy:1")
    assert rest.kept > 0
    assert rest.sent > 0
    assert edgekit.pull(f"oci://{registry.host}/toy:1", tmp_path / "back").bundle == rest.bundle


def test_a_registry_that_wants_a_login_is_given_dockers_own(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with run_registry(tmp_path, LOGIN) as registry:
        place = f"oci://{registry.host}/toy:1"
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
        with pytest.raises(OutputError, match="401") as refused:
            edgekit.push(bundle, place)
        assert "docker login" in (refused.value.fix or "")
        (tmp_path / "docker").mkdir()
        for password, works in (("wrong", False), ("secret", True)):
            auth = base64.b64encode(f"somebody:{password}".encode()).decode()
            (tmp_path / "docker" / "config.json").write_text(
                json.dumps({"auths": {registry.host: {"auth": auth}}})
            )
            if works:
                assert edgekit.push(bundle, place).sent > 0
            else:
                with pytest.raises(OutputError, match="401"):
                    edgekit.push(bundle, place)


def test_a_byte_changed_in_the_registry_is_found_and_nothing_is_left(
    bundle: Path, registry: RunningRegistry, tmp_path: Path
) -> None:
    place = f"oci://{registry.host}/toy:1"
    edgekit.push(bundle, place)
    model = (bundle / "model.int8.ort").read_bytes()
    (blob,) = [path for path in registry.storage.rglob("data") if path.read_bytes() == model]
    blob.write_bytes(model[:-1] + bytes([model[-1] ^ 1]))
    with pytest.raises((BundleError, OutputError)):
        edgekit.pull(place, tmp_path / "back")
    assert not (tmp_path / "back").exists()
    assert not list(tmp_path.glob(".edgekit-*"))


def test_what_is_no_place_no_bundle_or_no_registry_is_told(
    bundle: Path, registry: RunningRegistry, tmp_path: Path
) -> None:
    for wrong in ("ftp://h/x", "toy:1", "oci://host/UPPER:1", "oci://host/a/../b", "oci:///x"):
        with pytest.raises(UsageError, match="no place in a registry"):
            edgekit.push(bundle, wrong)
    with pytest.raises(OutputError, match="cannot be reached"):
        edgekit.push(bundle, f"oci://127.0.0.1:{free_port()}/toy:1")
    with pytest.raises(OutputError, match="404"):
        edgekit.pull(f"oci://{registry.host}/nothing:1", tmp_path / "back")
    (tmp_path / "mine").mkdir()
    with pytest.raises(OutputError, match="exists"):
        edgekit.pull(f"oci://{registry.host}/nothing:1", tmp_path / "mine")


def test_the_commands_say_what_they_did(bundle: Path, registry: RunningRegistry, tmp_path: Path) -> None:
    place = f"oci://{registry.host}/toy:1"
    pushed = run("push", bundle, place)
    assert (pushed.exit_code, "files sent" in pushed.stdout) == (0, True)
    assert "samples of yours" in pushed.stderr
    pulled = run("pull", place, "-o", tmp_path / "back", "--json")
    assert json.loads(pulled.stdout)["pull"]["bundle"] in pushed.stdout + pulled.stdout
    assert run("pull", place, "-o", tmp_path / "back").exit_code == 1
