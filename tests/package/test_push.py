from __future__ import annotations

import base64
import json
import shutil
import subprocess
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler
from typing import TYPE_CHECKING, Any

import pytest

import edgekit
from edgekit._package.oci import ARTIFACT_TYPE, BUNDLE, CONFIG_TYPE, FILEPATH
from edgekit.errors import BundleError, OutputError, UsageError
from tests.converted import make_bundle, make_workspace, read_tree, run
from tests.loopback import QuietHandler, serving
from tests.package.cut_connection import cutting
from tests.package.registry import free_port, run_registry
from tests.package.token_server import run_token_server

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


def log_in(folder: Path, host: str, login: str) -> None:
    """What `docker login` leaves."""
    folder.mkdir(exist_ok=True)
    auth = base64.b64encode(login.encode()).decode()
    (folder / "config.json").write_text(json.dumps({"auths": {host: {"auth": auth}}}))


@contextmanager
def serving_files(folder: Path) -> Iterator[tuple[str, list[tuple[str, str | None]]]]:
    """A folder's files at HOST:PORT by HTTP, and path and Authorization of each GET that came."""
    seen: list[tuple[str, str | None]] = []

    class Handler(QuietHandler, SimpleHTTPRequestHandler):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given, directory=str(folder))

        def do_GET(self) -> None:
            seen.append((self.path, self.headers["authorization"]))
            super().do_GET()

    with serving(Handler) as place:
        yield place, seen


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
    (tmp_path / "htpasswd").write_text(LOGIN)
    auth = f"auth:\n  htpasswd: {{realm: test, path: {tmp_path / 'htpasswd'}}}\n"
    with run_registry(tmp_path, auth) as registry:
        place = f"oci://{registry.host}/toy:1"
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
        with pytest.raises(OutputError, match="401") as refused:
            edgekit.push(bundle, place)
        assert "docker login" in (refused.value.fix or "")
        log_in(tmp_path / "docker", registry.host, "somebody:wrong")
        with pytest.raises(OutputError, match="401"):
            edgekit.push(bundle, place)
        log_in(tmp_path / "docker", registry.host, "somebody:secret")
        assert edgekit.push(bundle, place).sent > 0


def test_a_registry_with_tokens_is_asked_for_one_of_each_scope(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    with (
        run_token_server(tmp_path, "somebody:secret") as (auth, scopes),
        run_registry(tmp_path, auth) as there,
    ):
        place = f"oci://{there.host}/toy:1"
        log_in(tmp_path / "docker", there.host, "somebody:wrong")
        with pytest.raises(OutputError, match="no token"):
            edgekit.push(bundle, place)
        log_in(tmp_path / "docker", there.host, "somebody:secret")
        pushed = edgekit.push(bundle, place)
        assert edgekit.pull(place, tmp_path / "back").digest == pushed.digest
    assert {tuple(sorted(scope.rpartition(":")[2].split(","))) for scope in scopes} == {
        ("pull",),
        ("pull", "push"),
    }


def test_blobs_that_lie_on_another_server_are_fetched_there_without_the_login(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As large registries keep them in a cloud's storage; the registry's own middleware sends there."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    (tmp_path / "htpasswd").write_text(LOGIN)
    auth = f"auth:\n  htpasswd: {{realm: test, path: {tmp_path / 'htpasswd'}}}\n"
    with serving_files(tmp_path / "storage") as (storage, seen):
        elsewhere = (
            f"middleware:\n  storage:\n    - name: redirect\n      options: {{baseurl: 'http://{storage}'}}\n"
        )
        with run_registry(tmp_path, auth + elsewhere) as there:
            log_in(tmp_path / "docker", there.host, "somebody:secret")
            edgekit.push(bundle, f"oci://{there.host}/toy:1")
            back = edgekit.pull(f"oci://{there.host}/toy:1", tmp_path / "back")
    assert read_tree(back.folder) == read_tree(bundle)
    assert len(seen) >= len({*read_tree(bundle).values()})
    assert {login for _, login in seen} == {None}


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
    assert "golden data and sketches hold numbers of your samples" in pushed.stderr
    pulled = run("pull", place, "-o", tmp_path / "back", "--json")
    assert json.loads(pulled.stdout)["pull"]["bundle"] in pushed.stdout + pulled.stdout
    assert run("pull", place, "-o", tmp_path / "back").exit_code == 1


def _layer(**changes: Any) -> dict[str, Any]:
    row: dict[str, Any] = {"annotations": {FILEPATH: "a"}, "digest": f"sha256:{'0' * 64}", "size": 1}
    return row | changes


@pytest.mark.parametrize(
    "rows",
    [
        [_layer(size=1 << 50), _layer(size=-(1 << 50), annotations={FILEPATH: "b"})],
        [_layer(size=float("inf"))],
        [_layer(size="1")],
        [_layer(size=True)],
        [_layer(size=1 << 50)],
        [_layer(digest="../../v2/other/blobs/x")],
        [_layer(digest=7)],
        [_layer(annotations={FILEPATH: 5})],
        [_layer(annotations={FILEPATH: "../a"})],
        [_layer(annotations={})],
        7,
        None,
    ],
)
def test_a_hostile_manifest_is_refused_before_a_blob_is_fetched(tmp_path: Path, rows: Any) -> None:
    manifest = {
        "artifactType": ARTIFACT_TYPE,
        "config": {"mediaType": CONFIG_TYPE},
        "layers": rows,
        "annotations": {BUNDLE: "0" * 64},
    }
    (tmp_path / "v2" / "toy" / "manifests").mkdir(parents=True)
    (tmp_path / "v2" / "toy" / "manifests" / "1").write_text(json.dumps(manifest))
    with (
        serving_files(tmp_path) as (host, seen),
        pytest.raises(BundleError, match=r"no bundle|more files|name"),
    ):
        edgekit.pull(f"oci://{host}/toy:1", tmp_path / "back")
    assert [path for path, _ in seen] == ["/v2/toy/manifests/1"]
    assert not (tmp_path / "back").exists()


def test_a_manifest_of_brackets_is_refused(tmp_path: Path) -> None:
    (tmp_path / "v2" / "toy" / "manifests").mkdir(parents=True)
    (tmp_path / "v2" / "toy" / "manifests" / "1").write_text("[" * 200_000)
    with serving_files(tmp_path) as (host, _), pytest.raises(BundleError, match="no bundle"):
        edgekit.pull(f"oci://{host}/toy:1", tmp_path / "back")
