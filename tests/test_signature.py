"""Signatures: model-signing's own command line on ours, and every way in which one must not hold."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import edgekit
from edgekit._bundle import write_archive
from edgekit._signature import check_signature
from edgekit._signers import SignedBy
from edgekit.errors import BundleError, EdgekitError, UsageError
from tests.converted import make_bundle, read_tree, run

x509 = pytest.importorskip("cryptography.x509")
from cryptography.hazmat.primitives import hashes, serialization  # noqa: E402 - after the skip
from cryptography.hazmat.primitives.asymmetric import ec, rsa  # noqa: E402

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

NOW = datetime.now(UTC)
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Pair:
    """A private key and the PEM files of both halves."""

    key: ec.EllipticCurvePrivateKey
    private: Path
    public: Path


def make_pair(folder: Path, name: str) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    pem = serialization.Encoding.PEM
    plain = serialization.NoEncryption()
    private.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    public.write_bytes(key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo))
    return Pair(key, private, public)


def certify(pair: Pair, issuer: Pair, path: Path, *, root: bool, until: datetime = NOW + 30 * DAY) -> Path:
    """A certificate of `pair` by `issuer`: a root's, or one that may sign."""
    names = [
        x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "root" if mine else "signer")])
        for mine in (root, True)
    ]
    usage = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "crl_sign",
         "encipher_only", "decipher_only"), False,
    )  # fmt: skip
    made: Certificate = (
        x509.CertificateBuilder(names[1], names[0], pair.key.public_key(), x509.random_serial_number())
        .not_valid_before(NOW - 60 * DAY)
        .not_valid_after(until)
        .add_extension(x509.BasicConstraints(ca=root, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(digital_signature=not root, key_cert_sign=root, **usage), critical=True)
        .sign(issuer.key, hashes.SHA256())
    )
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return make_pair(tmp_path, "mine")


def test_a_signed_bundle_is_unchanged_and_verifies_as_folder_and_archive(bundle: Path, pair: Pair) -> None:
    before = read_tree(bundle)
    done = run("sign", bundle, "--key", pair.private)
    assert done.exit_code == 0, done.output
    assert read_tree(bundle) == before
    write_archive(bundle, bundle.with_name("device.tar.gz"))
    for place in (bundle, bundle.with_name("device.tar.gz")):
        done = run("verify", place, "--key", pair.public)
        assert done.exit_code == 0, done.output


def test_model_signings_own_command_line_takes_our_signature(bundle: Path, pair: Pair) -> None:
    signature = edgekit.sign(bundle, pair.private)
    command = [sys.executable, "-m", "model_signing", "verify", "key", str(bundle)]
    command += ["--signature", str(signature), "--public_key", str(pair.public)]
    assert subprocess.run(command, check=False, capture_output=True, timeout=60).returncode == 0
    (bundle / "README.md").write_text("other\n")
    assert subprocess.run(command, check=False, capture_output=True, timeout=60).returncode != 0


def test_a_flipped_bit_in_any_file_is_found(bundle: Path, pair: Pair) -> None:
    edgekit.sign(bundle, pair.private)
    for path in sorted(path for path in bundle.rglob("*") if path.is_file()):
        data = path.read_bytes()
        for place in {0, len(data) // 2, len(data) - 1}:
            flipped = bytearray(data)
            flipped[place] ^= 1
            path.write_bytes(flipped)
            with pytest.raises(EdgekitError):
                edgekit.verify(bundle, signed_by=SignedBy("key", pair.public))
            # The signature itself finds it too, without the bundle's own seal.
            with pytest.raises(BundleError, match="does not hold"):
                check_signature(bundle, bundle, SignedBy("key", pair.public))
        path.write_bytes(data)
    check_signature(bundle, bundle, SignedBy("key", pair.public))


def test_a_changed_signature_does_not_hold(bundle: Path, pair: Pair) -> None:
    signature = edgekit.sign(bundle, pair.private)
    text = signature.read_text()
    whole = json.loads(text)
    for key in ("payload", "signatures"):
        changed = json.loads(text)
        changed["dsseEnvelope"][key] = make_other(whole["dsseEnvelope"][key])
        for content in (json.dumps(changed), text[: len(text) // 2], "", "[]", "{}", "[" * 100_000):
            signature.write_text(content)
            with pytest.raises(BundleError, match="does not hold"):
                check_signature(bundle, bundle, SignedBy("key", pair.public))


def make_other(value: object) -> object:
    """The payload with one letter exchanged, or no signature at all."""
    return (
        []
        if isinstance(value, list)
        else f"{str(value)[:40]}{'A' if str(value)[40] != 'A' else 'B'}{str(value)[41:]}"
    )


def test_another_key_another_bundle_and_no_signature_are_refused(
    bundle: Path, pair: Pair, tmp_path: Path
) -> None:
    other = make_pair(tmp_path, "other")
    done = run("verify", bundle, "--key", pair.public)
    assert (done.exit_code, "cannot be read" in done.output) == (1, True)
    edgekit.sign(bundle, pair.private)
    done = run("verify", bundle, "--key", other.public)
    assert (done.exit_code, "does not hold" in done.output) == (1, True)
    foreign = make_bundle(tmp_path, "jetson-orin-nano-8gb")
    signature = bundle.with_name("device.sig")
    done = run("verify", foreign, "--key", pair.public, "--signature", signature)
    assert (done.exit_code, "does not hold" in done.output) == (1, True)


def test_a_root_vouches_for_its_signer_and_no_other_does(bundle: Path, tmp_path: Path) -> None:
    root, signer, other = (make_pair(tmp_path, name) for name in ("root", "signer", "other"))
    trusted = certify(root, root, tmp_path / "root.crt", root=True)
    foreign = certify(other, other, tmp_path / "other.crt", root=True)
    own = certify(signer, root, tmp_path / "signer.crt", root=False)
    edgekit.sign(bundle, signer.private, certificate=own, chain=[trusted])
    assert run("verify", bundle, "--certificate", trusted).exit_code == 0
    done = run("verify", bundle, "--certificate", foreign)
    assert (done.exit_code, "does not hold" in done.output) == (1, True)
    with pytest.raises(BundleError, match="does not hold"):
        check_signature(bundle, bundle, SignedBy("key", signer.public))


def test_an_expired_certificate_neither_signs_nor_vouches(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, signer = make_pair(tmp_path, "root"), make_pair(tmp_path, "signer")
    trusted = certify(root, root, tmp_path / "root.crt", root=True)
    old = certify(signer, root, tmp_path / "old.crt", root=False, until=NOW - DAY)
    with pytest.raises(UsageError, match="expired"):
        edgekit.sign(bundle, signer.private, certificate=old, chain=[trusted])
    # As signed when it was valid: model-signing itself makes the signature, and takes it.
    signing = pytest.importorskip("model_signing.signing")
    config = signing.Config().use_certificate_signer(
        private_key=signer.private, signing_certificate=old, certificate_chain=[trusted]
    )
    config.sign(bundle, bundle.with_name("device.sig"))
    done = run("verify", bundle, "--certificate", trusted)
    assert (done.exit_code, "expired on" in done.output) == (1, True)


def test_keys_that_cannot_sign_are_told(bundle: Path, pair: Pair, tmp_path: Path) -> None:
    rsa_key = tmp_path / "rsa.pem"
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    rsa_key.write_bytes(
        rsa.generate_private_key(65537, 2048).private_bytes(pem, form, serialization.NoEncryption())
    )
    locked = tmp_path / "locked.pem"
    locked.write_bytes(pair.key.private_bytes(pem, form, serialization.BestAvailableEncryption(b"word")))
    for key in (rsa_key, locked, pair.public, tmp_path / "none.pem"):
        with pytest.raises(UsageError):
            edgekit.sign(bundle, key)
    assert not bundle.with_name("device.sig").exists()


def test_an_encrypted_key_signs_with_its_password(
    bundle: Path, pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked = tmp_path / "locked.pem"
    locked.write_bytes(
        pair.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"word"),
        )
    )
    monkeypatch.setenv("EDGEKIT_KEY_PASSWORD", "word")
    edgekit.sign(bundle, locked)
    check_signature(bundle, bundle, SignedBy("key", pair.public))
    monkeypatch.setenv("EDGEKIT_KEY_PASSWORD", "wrong")
    with pytest.raises(UsageError):
        edgekit.sign(bundle, locked)


def test_a_damaged_bundle_is_never_signed_and_none_is_signed_into_itself(bundle: Path, pair: Pair) -> None:
    with pytest.raises(UsageError, match="outside the bundle"):
        edgekit.sign(bundle, pair.private, output=bundle / "model.sig")
    (bundle / "added").touch()
    with pytest.raises(BundleError, match="added"):
        edgekit.sign(bundle, pair.private)
    assert not bundle.with_name("device.sig").exists()


def test_a_gate_asks_for_the_signer(bundle: Path, pair: Pair, tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(f'[signature]\nkey = "{pair.public.name}"\n')
    assert not edgekit.gate(bundle, policy).passed
    edgekit.sign(bundle, pair.private)
    assert edgekit.gate(bundle, policy).passed
    other = make_pair(tmp_path, "other")
    policy.write_text(f'[signature]\nkey = "{other.public.name}"\n')
    assert not edgekit.gate(bundle, policy).passed
    policy.write_text(f'[signature]\nkey = "{pair.public.name}"\ncertificate = "x"\n')
    with pytest.raises(UsageError, match="names 2 signers"):
        edgekit.gate(bundle, policy)


def test_the_commands_of_the_page_run(made: Path, tmp_path: Path) -> None:
    page = Path(__file__).parents[1] / "docs" / "sign.md"
    (commands,) = re.findall(r"```bash\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    shutil.copytree(made, tmp_path / "bundles" / "generic-ort-mobile")
    paths = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=tmp_path,
        env=os.environ | {"PATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "bundles" / "generic-ort-mobile.sig").is_file()


def test_an_expired_root_vouches_for_nobody(bundle: Path, tmp_path: Path) -> None:
    root, signer = make_pair(tmp_path, "root"), make_pair(tmp_path, "signer")
    old = certify(root, root, tmp_path / "old.crt", root=True, until=NOW - DAY)
    own = certify(signer, root, tmp_path / "own.crt", root=False)
    with pytest.raises(UsageError, match=r"old\.crt.*expired"):
        edgekit.sign(bundle, signer.private, certificate=own, chain=[old])
    edgekit.sign(bundle, signer.private, certificate=own)
    with pytest.raises(BundleError, match="expired on"):
        check_signature(bundle, bundle, SignedBy("certificate", old))
    renewed = certify(root, root, tmp_path / "new.crt", root=True)
    check_signature(bundle, bundle, SignedBy("certificate", renewed))
