"""Keyless signatures: Sigstore's own client and verifier against services on loopback, and every refusal."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

import edgekit
from edgekit._bundle import write_archive
from edgekit._signature import check_signature
from edgekit._signers import Keyless, SignedAs, SignedBy
from edgekit.errors import BundleError, OutputError, UsageError
from tests.converted import command_line, read_tree, run
from tests.keyless.fulcio import make_key
from tests.keyless.services import WORKFLOW, Sigstore, run_sigstore
from tests.test_signature import make_pair

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WHO = "dev@example.org"


@pytest.fixture
def services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sigstore]:
    for name in ("SIGSTORE_ID_TOKEN", "GITHUB_ACTIONS", "GITLAB_CI", "BUILDKITE", "CIRCLECI"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "services"
    folder.mkdir()
    with run_sigstore(folder) as running:
        yield running


def sign(services: Sigstore, bundle: Path, token: str = "", **changed: str) -> Path:
    """The bundle signed as the token's subject; by default as WHO. changed: URLs of services."""
    file = services.folder / "token"
    file.write_text(f"{token or services.make_token()}\n")
    return edgekit.sign(bundle, Keyless(file, services.write_trust_config(**changed)))


def trust(services: Sigstore, identity: str = WHO, issuer: str = "") -> SignedAs:
    return SignedAs(identity, issuer or services.url, services.write_trust_config())


def free_address() -> str:
    """A URL of loopback where nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.mark.parametrize("version", [1, 2])
def test_a_token_signs_and_its_identity_verifies(services: Sigstore, bundle: Path, version: int) -> None:
    services.version = version
    before, token = read_tree(bundle), services.make_token()
    (services.folder / "token").write_text(token)
    config = services.write_trust_config()
    words = ("--sigstore", "--identity-token", services.folder / "token", "--trust-config", config)
    done = run("sign", bundle, *words)
    assert done.exit_code == 0, done.output
    assert f"identity: {WHO}\nissuer: {services.url}\n" in done.stdout
    assert token not in done.output
    assert token.encode() not in bundle.with_name("device.sig").read_bytes()
    assert read_tree(bundle) == before
    write_archive(bundle, bundle.with_name("device.tar.gz"))
    services.asked.clear()
    for place in (bundle, bundle.with_name("device.tar.gz")):
        done = run("verify", place, "--identity", WHO, "--issuer", services.url, "--trust-config", config)
        assert done.exit_code == 0, done.output
    assert not services.asked  # what was signed is verified offline


def test_model_signings_own_command_line_takes_our_signature(services: Sigstore, bundle: Path) -> None:
    signature = sign(services, bundle)
    command = [sys.executable, "-m", "model_signing", "verify", "sigstore", str(bundle)]
    command += ["--signature", str(signature), "--identity", WHO, "--identity_provider", services.url]
    command += ["--trust_config", str(services.write_trust_config())]
    assert subprocess.run(command, check=False, capture_output=True, timeout=60).returncode == 0
    (bundle / "README.md").write_text("other\n")
    assert subprocess.run(command, check=False, capture_output=True, timeout=60).returncode != 0


def test_a_job_of_github_signs_as_its_workflow(
    services: Sigstore, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keyless = Keyless(None, services.write_trust_config())
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    with pytest.raises(UsageError, match="insufficient OIDC token permissions"):
        edgekit.sign(bundle, keyless)
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", f"{services.url}/job?api-version=2.0")
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "of-another-job")
    with pytest.raises(UsageError, match="code=401"):
        edgekit.sign(bundle, keyless)
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "of-the-job")
    edgekit.sign(bundle, keyless)
    check_signature(bundle, bundle, trust(services, WORKFLOW))


def test_a_signature_outlives_its_certificate(services: Sigstore, bundle: Path) -> None:
    services.fulcio.lifetime = timedelta(seconds=3)
    sign(services, bundle)
    time.sleep(3.5)
    check_signature(bundle, bundle, trust(services))


def test_what_was_logged_after_the_certificate_had_expired_does_not_hold(
    services: Sigstore, bundle: Path
) -> None:
    services.rekor.delay = 3600.0
    sign(services, bundle)
    with pytest.raises(BundleError, match=r"does not hold.*certificate"):
        check_signature(bundle, bundle, trust(services))


def test_another_identity_issuer_instance_and_kind_are_refused(
    services: Sigstore, bundle: Path, tmp_path: Path
) -> None:
    sign(services, bundle)
    (tmp_path / "foreign").mkdir()
    foreign = Sigstore(tmp_path / "foreign", services.url)
    for trusted, reason in (
        (trust(services, "other@example.org"), "do not match other@example.org"),
        (trust(services, issuer="https://accounts.example.org"), "OIDCIssuer does not match"),
        (trust(foreign), "certificate chain"),
        (SignedBy("key", make_pair(tmp_path, "mine").public), ""),
    ):
        with pytest.raises(BundleError, match=f"does not hold: .*{reason}"):
            check_signature(bundle, bundle, trusted)
    edgekit.sign(bundle, make_pair(tmp_path, "other").private)
    with pytest.raises(BundleError, match="does not hold"):
        check_signature(bundle, bundle, trust(services))


def test_a_changed_bundle_or_signature_does_not_hold(services: Sigstore, bundle: Path) -> None:
    signature, trusted = sign(services, bundle), trust(services)
    text = signature.read_text()
    for path in sorted(path for path in bundle.rglob("*") if path.is_file()):
        data = path.read_bytes()
        path.write_bytes(bytes([data[0] ^ 1]) + data[1:])
        with pytest.raises(BundleError, match="does not hold"):
            check_signature(bundle, bundle, trusted)
        path.write_bytes(data)
    check_signature(bundle, bundle, trusted)
    for content in (*change_parts(text), text[: len(text) // 2], "", "[]", "{}", "[" * 100_000):
        signature.write_text(content)
        with pytest.raises(BundleError, match="does not hold"):
            check_signature(bundle, bundle, trusted)


def change_parts(text: str) -> Iterator[str]:
    """The signature with one letter of each part exchanged that the verifier has to look at."""
    (entry,) = json.loads(text)["verificationMaterial"]["tlogEntries"]
    (signed,) = json.loads(text)["dsseEnvelope"]["signatures"]
    proof = entry["inclusionProof"]
    certificate = json.loads(text)["verificationMaterial"]["certificate"]["rawBytes"]
    parts = [
        json.loads(text)["dsseEnvelope"]["payload"],
        signed["sig"],
        certificate,
        entry["canonicalizedBody"],
    ]
    parts += [entry["inclusionPromise"]["signedEntryTimestamp"], proof["rootHash"], *proof["hashes"]]
    for part in parts:
        data = bytearray(base64.b64decode(part))
        data[len(data) // 2] ^= 1
        assert part in text
        yield text.replace(part, base64.b64encode(data).decode(), 1)


def test_tokens_that_are_of_no_use_are_told_before_any_work(
    services: Sigstore, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = int(time.time())
    for token, reason in (
        (services.make_token(exp=now - 60, iat=now - 120), "expired"),
        (services.make_token(nbf=now + 600), "not yet valid|validity period"),
        (services.make_token(aud="another"), "[Aa]udience"),
        ("not.a.token", "token cannot be used"),
        ("\u00fc", "token cannot be used"),
    ):
        with pytest.raises(UsageError, match=reason):
            sign(services, bundle, token)
    with pytest.raises(UsageError, match="cannot be read"):
        edgekit.sign(bundle, Keyless(services.folder / "none", services.write_trust_config()))
    assert not services.asked
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    with pytest.raises(UsageError, match="nobody to log in"):
        edgekit.sign(bundle, Keyless(None, services.write_trust_config()))
    monkeypatch.setenv("SIGSTORE_ID_TOKEN", services.make_token("ci@example.org"))
    edgekit.sign(bundle, Keyless(None, services.write_trust_config()))
    check_signature(bundle, bundle, trust(services, "ci@example.org"))


def test_servers_that_are_away_or_refuse_are_named_and_nothing_is_written(
    services: Sigstore, bundle: Path
) -> None:
    for service in ("oidc", "fulcio", "rekor"):
        away = free_address()
        with pytest.raises(OutputError, match=f"{away[7:]} cannot be reached.*--trust-config"):
            sign(services, bundle, **{service: away})
    told = json.dumps({"code": 13, "message": "the certificate authority rests"}).encode()
    for path, body, reason in (
        ("/api/v2/signingCert", told, "answers 500 .*authority rests"),
        ("/api/v2/signingCert", b"<html>", "answers 500"),
        ("/api/v1/log/entries", told, "answers 500 .*authority rests"),
    ):
        services.answers = {path: (500, body)}
        with pytest.raises(OutputError, match=f"{services.url[7:]} {reason}"):
            sign(services, bundle)
    for path in ("/api/v2/signingCert", "/api/v1/log/entries"):
        for body in (
            b"",
            b"[]",
            b"{}",
            b'{"signedCertificateEmbeddedSct": {"chain": {"certificates": ["", ""]}}}',
        ):
            services.answers = {path: (201, body)}
            with pytest.raises(OutputError, match="not signed"):
                sign(services, bundle)
    assert [path.name for path in bundle.parent.iterdir()] == ["device"]


def test_a_token_that_the_authority_does_not_believe_signs_nothing(services: Sigstore, bundle: Path) -> None:
    token = services.make_token()
    services.token_key = make_key()
    with pytest.raises(OutputError, match=r"answers 401 .*identity token"):
        sign(services, bundle, token)
    assert not bundle.with_name("device.sig").exists()


def test_a_certificate_that_no_trusted_log_knows_signs_nothing(services: Sigstore, bundle: Path) -> None:
    services.fulcio.ct_key = make_key()
    with pytest.raises(OutputError, match="SCT"):
        sign(services, bundle)
    assert "/api/v1/log/entries" not in services.asked


def test_without_a_timestamp_a_log_of_the_second_version_is_no_signature(
    services: Sigstore, bundle: Path
) -> None:
    services.version = 2
    services.answers = {"/api/v1/timestamp": (503, b"")}
    with pytest.raises(OutputError, match="timestamp"):
        sign(services, bundle)
    assert not bundle.with_name("device.sig").exists()


def test_a_trust_config_that_cannot_be_used_is_told(services: Sigstore, bundle: Path, tmp_path: Path) -> None:
    whole = services.make_trust_config()
    place, signature = tmp_path / "trust.json", sign(services, bundle)
    for text, reason in (
        ("", "no trust config"),
        (json.dumps(whole["trustedRoot"]), "mediaType is 'application/vnd.dev.sigstore.trustedroot"),
        (json.dumps(whole | {"trustedRoot": {}}), "cannot be used"),
        (json.dumps(whole | {"trustedRoot": whole["trustedRoot"] | {"tlogs": []}}), "cannot be used"),
    ):
        place.write_text(text)
        with pytest.raises(UsageError, match=reason):
            check_signature(bundle, bundle, SignedAs(WHO, services.url, place, signature))
    place.write_text(json.dumps(whole | {"signingConfig": whole["signingConfig"] | {"caUrls": []}}))
    with pytest.raises(UsageError, match=r"cannot be used.*Fulcio"):
        edgekit.sign(bundle, Keyless(services.folder / "token", place))
    with pytest.raises(UsageError, match="cannot be read"):
        edgekit.sign(bundle, Keyless(services.folder / "token", tmp_path / "none"))


def test_without_network_or_trust_config_the_host_is_named(
    services: Sigstore, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*asked: object, **more: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    sign(services, bundle)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    with pytest.raises(BundleError, match=r"tuf-repo-cdn\.sigstore\.dev .*not known.*--trust-config"):
        check_signature(bundle, bundle, SignedAs(WHO, services.url))
    with pytest.raises(OutputError, match=r"tuf-repo-cdn\.sigstore\.dev .*not known.*--trust-config"):
        edgekit.sign(bundle, Keyless(services.folder / "token"))


@pytest.mark.parametrize(
    "words",
    [
        ("sign",),
        ("sign", "--sigstore", "--key", "k.pem"),
        ("sign", "--sigstore", "--certificate", "c.crt"),
        ("sign", "--sigstore", "--chain", "c.crt"),
        ("sign", "--key", "k.pem", "--identity-token", "token"),
        ("sign", "--key", "k.pem", "--trust-config", "trust.json"),
        ("verify", "--identity", WHO),
        ("verify", "--issuer", "https://accounts.example.org"),
        ("verify", "--trust-config", "trust.json"),
        ("verify", "--key", "k.pub", "--issuer", "https://accounts.example.org"),
        ("verify", "--identity", WHO, "--issuer", "https://accounts.example.org", "--key", "k.pub"),
    ],
)
def test_options_that_do_not_fit_are_refused(bundle: Path, words: tuple[str, ...]) -> None:
    done = run(words[0], bundle, *words[1:])
    assert (done.exit_code, "way out:" in done.output) == (2, True), done.output


def test_a_login_in_the_browser_signs(services: Sigstore, bundle: Path) -> None:
    fetch = "import sys, urllib.request as r; r.urlopen(sys.argv[1]).read()"
    browser = services.folder / "browser"
    browser.write_text(f"#!/bin/sh\nexec {sys.executable} -c '{fetch}' \"$1\"\n")
    browser.chmod(0o755)
    ours, theirs = os.openpty()  # somebody sits at a terminal
    try:
        done = subprocess.run(
            command_line("sign", bundle, "--sigstore", "--trust-config", services.write_trust_config()),
            env=os.environ | {"BROWSER": str(browser)},
            stdin=theirs,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.returncode == 0, done.stderr
    assert "/token" in services.asked
    check_signature(bundle, bundle, trust(services))


def test_a_gate_asks_for_the_identity(services: Sigstore, bundle: Path, tmp_path: Path) -> None:
    config = services.write_trust_config()
    shutil.copy(config, tmp_path / "trust.json")
    lines = [
        "[signature]",
        f'identity = "{WHO}"',
        f'issuer = "{services.url}"',
        'trust_config = "trust.json"',
    ]
    policy = tmp_path / "policy.toml"
    policy.write_text("\n".join(lines))
    assert not edgekit.gate(bundle, policy).passed
    sign(services, bundle)
    assert edgekit.gate(bundle, policy).passed
    policy.write_text("\n".join(lines).replace(WHO, "other@example.org"))
    assert not edgekit.gate(bundle, policy).passed
    for kept in ((0, 1), (0, 2), (0, 1, 3)):
        policy.write_text("\n".join(lines[index] for index in kept))
        with pytest.raises(UsageError, match=r"\[signature\]"):
            edgekit.gate(bundle, policy)
