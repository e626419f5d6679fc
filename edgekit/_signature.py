"""Signatures of bundles by OpenSSF model-signing: with a key or certificate, offline, or by Sigstore."""

from __future__ import annotations

import base64
import os
import tempfile
from contextlib import nullcontext
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edgekit._bundle import open_bundle
from edgekit._signers import Keyless, SignedAs, SignedBy
from edgekit._sigstore import explain_signing, make_identity_verifier, make_keyless_signer, tell_refusal
from edgekit._strict_json import read_json
from edgekit.errors import BundleError, MissingToolError, OutputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cryptography.x509 import Certificate

    from edgekit._signers import Signer, SigningKey, Trusted

ENDING = ".sig"
#: The password of an encrypted private key is read from this variable, never from the command line.
PASSWORD = "EDGEKIT_KEY_PASSWORD"
_MOST_BYTES = 64 << 20  # a signature names each file of a bundle


def signature_place(bundle: Path) -> Path:
    """Where a bundle's signature lies: `out/pixel-9` (and its archives) has `out/pixel-9.sig`."""
    place = Path(os.path.abspath(bundle))  # noqa: PTH100 - links stay as named
    stem = place.name if place.is_dir() else place.name.removesuffix(".tar.gz").removesuffix(".zip")
    return place.with_name(f"{stem}{ENDING}")


def sign_bundle(bundle: Path, signer: Signer, output: Path | None = None) -> Path:
    """Sign every file of a bundle folder and write the signature beside it; its path.

    The bundle is checked first: a damaged one is never signed. Raises BundleError, UsageError for a key,
    certificate or token that cannot be used, OutputError where the file or Sigstore's servers fail.
    """
    if bundle.is_file():
        raise UsageError(
            f"'{bundle}' is an archive", fix="sign the folder: its signature holds for its archives"
        )
    target = output or signature_place(bundle)
    if target.is_dir() or target.resolve().is_relative_to(bundle.resolve()):
        raise UsageError(
            f"a signature cannot lie at '{target}'", fix="name a file outside the bundle with -o"
        )
    signing = _import_model_signing("signing")
    with open_bundle(bundle) as opened:
        config = _make_signer(signing.Config(), signer)
        told = explain_signing() if isinstance(signer, Keyless) else nullcontext()
        try:
            # Whole, or not at all: the library writes into the file as it goes.
            with tempfile.TemporaryDirectory(prefix=".edgekit-", dir=target.parent) as staging:
                with told:
                    config.sign(opened.folder, Path(staging, "signature"))
                Path(staging, "signature").replace(target)
        except OSError as error:
            raise OutputError(
                f"signature '{target}' cannot be written ({error.strerror})", fix="name another file with -o"
            ) from error
    return target


def check_signature(folder: Path, bundle: Path, signed_by: Trusted) -> None:
    """BundleError unless every file of an opened bundle's `folder` is what the trusted signer signed.

    bundle: the path it was given as, beside which its signature lies.
    """
    signature = signed_by.signature or signature_place(bundle)
    content = _read_signature(signature)
    verifying = _import_model_signing("verifying")
    config = _make_verifier(verifying.Config(), signed_by)
    try:
        if isinstance(signed_by, SignedBy) and signed_by.kind == "certificate":
            _check_dates(content, signed_by.file)
        config.verify(folder, signature)
    except Exception as error:
        # Five libraries read it, each with exceptions of its own: whatever a signature makes them raise, it
        # does not hold.
        raise _refuse(signature, tell_refusal(error) or f"not signed by '{signed_by.name}'") from error


def _import_model_signing(module: Literal["signing", "verifying"]) -> Any:
    try:
        return import_module(f"model_signing.{module}")
    except ImportError as error:
        raise MissingToolError(
            "signatures need model-signing, which is not installed", fix="pip install 'edgekit[sign]'"
        ) from error


def _make_signer(config: Any, signer: Signer) -> Any:
    """The configuration with what signs, read; UsageError where it cannot be."""
    return make_keyless_signer(config, signer) if isinstance(signer, Keyless) else _use_key(config, signer)


def _use_key(config: Any, key: SigningKey) -> Any:
    try:
        if key.certificate is not None:
            _refuse_outdated([key.certificate, *key.chain])
            # The library cannot read an empty chain; the certificate itself adds nothing to it.
            return config.use_certificate_signer(
                private_key=key.key,
                signing_certificate=key.certificate,
                certificate_chain=key.chain or (key.certificate,),
            )
        password = os.environ.get(PASSWORD)
        return config.use_elliptic_key_signer(
            private_key=key.key, password=password.encode() if password else None
        )
    except OSError as error:
        raise UsageError(
            f"'{error.filename}' cannot be read ({error.strerror})", fix="name a PEM file"
        ) from error
    except (ValueError, TypeError, AttributeError) as error:
        raise UsageError(
            f"'{key.key}' cannot sign ({error})",
            fix=f"give a PEM private key on P-256, P-384 or P-521, its password in ${PASSWORD}",
        ) from error


def _make_verifier(config: Any, signed_by: Trusted) -> Any:
    if isinstance(signed_by, SignedAs):
        return make_identity_verifier(config, signed_by)
    try:
        if signed_by.kind == "key":
            return config.use_elliptic_key_verifier(public_key=signed_by.file)
        return config.use_certificate_verifier(certificate_chain=[signed_by.file])
    except OSError as error:
        raise UsageError(
            f"'{signed_by.file}' cannot be read ({error.strerror})", fix="name a PEM file"
        ) from error
    except (ValueError, TypeError, AttributeError) as error:
        wanted = "public key" if signed_by.kind == "key" else "certificate"
        raise UsageError(
            f"'{signed_by.file}' is no PEM {wanted} ({error})",
            fix="give the signer's public key with --key, or the root's certificate with --certificate",
        ) from error


def _read_signature(path: Path) -> Any:
    try:
        return read_json(path, _MOST_BYTES)
    except OSError as error:
        raise BundleError(
            f"signature '{path}' cannot be read ({error.strerror})",
            fix="get the bundle's signature and name it with --signature",
        ) from error
    except ValueError as error:
        raise _refuse(path, f"it is no signature ({error})") from error


def _check_dates(content: Any, trusted: Path) -> None:
    """ValueError where a certificate in the signature, or a trusted issuer of one, is not valid now.

    model-signing itself checks the chain as of the first day of the signer's certificate, so it takes
    expired ones; nothing in an offline signature proves when it was made.
    """
    from cryptography import x509

    rows = content["verificationMaterial"]["x509CertificateChain"]["certificates"]
    sent = [x509.load_der_x509_certificate(base64.b64decode(row["rawBytes"])) for row in rows]
    issuers = {one.issuer for one in sent}
    roots = [one for one in x509.load_pem_x509_certificates(trusted.read_bytes()) if one.subject in issuers]
    for line in _find_date_faults([*sent, *roots]):
        raise ValueError(f"certificate {line}")


def _refuse_outdated(paths: Sequence[Path]) -> None:
    """UsageError for a file with a certificate that is not valid now."""
    from cryptography import x509

    for path in paths:
        for line in _find_date_faults(x509.load_pem_x509_certificates(path.read_bytes())):
            raise UsageError(f"certificate '{path}' {line}", fix="sign with a valid one")


def _find_date_faults(certificates: Sequence[Certificate]) -> Iterator[str]:
    now = datetime.now(UTC)
    for one in certificates:
        name = one.subject.rfc4514_string()
        if now > one.not_valid_after_utc:
            yield f"({name}) expired on {one.not_valid_after_utc:%Y-%m-%d}"
        if now < one.not_valid_before_utc:
            yield f"({name}) is not valid before {one.not_valid_before_utc:%Y-%m-%d}"


def _refuse(signature: Path, reason: str) -> BundleError:
    return BundleError(
        f"signature '{signature}' does not hold: {reason}",
        fix="do not use the bundle: get it and its signature again from whom you trust",
    )
