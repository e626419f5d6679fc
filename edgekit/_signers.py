"""Who signs a bundle, and whose signature is asked for: a key, a certificate, or an identity by Sigstore."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from edgekit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True)
class SigningKey:
    """What signs: a PEM private key (NIST P-256, P-384 or P-521), with its certificate where there is one.

    chain: PEM files with the certificates between that one and a root.
    """

    key: Path
    certificate: Path | None = None
    chain: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Keyless:
    """Signs as whoever an OpenID Connect token names.

    identity_token: a file with the token; None: $SIGSTORE_ID_TOKEN, what a CI service gives its jobs, or a
    login in the browser. trust_config: the JSON that names a Sigstore instance's servers and keys; None:
    the public-good instance.
    """

    identity_token: Path | None = None
    trust_config: Path | None = None


@dataclass(frozen=True)
class SignedBy:
    """What a bundle's signature must come from: a public key, or certificates of the roots that are trusted.

    signature: the file; None: the one beside the bundle, `<bundle>.sig`.
    """

    kind: Literal["key", "certificate"]
    file: Path
    signature: Path | None = None

    @property
    def name(self) -> str:
        """As messages and gates name it."""
        return str(self.file)


@dataclass(frozen=True)
class SignedAs:
    """Whose keyless signature a bundle must bear: an identity, as one issuer of tokens vouches for it.

    identity: an e-mail address or URI, as in the certificate. issuer: the URL of the OpenID Connect issuer.
    trust_config: as of `Keyless`. signature: as of `SignedBy`.
    """

    identity: str
    issuer: str
    trust_config: Path | None = None
    signature: Path | None = None

    @property
    def name(self) -> str:
        """As messages and gates name it."""
        return f"{self.identity} ({self.issuer})"


Signer = SigningKey | Keyless
Trusted = SignedBy | SignedAs


def read_signer(given: Mapping[str, str | None], chain: Sequence[str] = ()) -> Signer:
    """What sign's options name: key and certificate, or sigstore with identity_token and trust_config.

    given["sigstore"] is any text where it was asked for. UsageError where the options do not fit.
    """
    asked = {name: Path(value) for name, value in given.items() if value is not None}
    if "sigstore" in asked:
        _refuse_mixed(["sigstore", *(name for name in ("key", "certificate") if name in asked)])
        if chain:
            raise UsageError("--chain goes with --certificate", fix="leave it out: Sigstore issues its own")
        return Keyless(asked.get("identity_token"), asked.get("trust_config"))
    _refuse_without("sigstore", asked, ("identity_token", "trust_config"))
    if "key" not in asked:
        raise UsageError("nothing says who signs", fix="add --key FILE, or --sigstore")
    return as_signer(asked["key"], asked.get("certificate"), chain)


def as_signer(
    signer: str | Path | Signer, certificate: str | Path | None = None, chain: Sequence[str | Path] = ()
) -> Signer:
    """A key's file with its certificates as a signer; UsageError for certificates beside another signer."""
    if isinstance(signer, (str, Path)):
        own = None if certificate is None else Path(certificate)
        return SigningKey(Path(signer), own, tuple(Path(path) for path in chain))
    if certificate is not None or chain:
        raise UsageError(
            "certificate and chain go with a key's file", fix="leave them out: the signer has its own"
        )
    return signer


def read_trusted(given: Mapping[str, str | None]) -> Trusted | None:
    """Whose signature verify's options ask for: key, certificate, or identity with issuer and trust_config.

    signature: its file. None where nobody's is asked for; UsageError where the options do not fit.
    """
    asked = {name: value for name, value in given.items() if value is not None}
    files = {name: Path(value) for name, value in asked.items()}
    kinds = [name for name in ("key", "certificate", "identity") if name in asked]
    _refuse_mixed(kinds)
    if "identity" in asked:
        if "issuer" not in asked:
            raise UsageError(
                "--identity says not who vouches for it",
                fix="add --issuer URL: another issuer may give the same name to anybody",
            )
        return SignedAs(asked["identity"], asked["issuer"], files.get("trust_config"), files.get("signature"))
    _refuse_without("identity", asked, ("issuer", "trust_config"))
    if "key" in asked:
        return SignedBy("key", files["key"], files.get("signature"))
    if "certificate" in asked:
        return SignedBy("certificate", files["certificate"], files.get("signature"))
    if "signature" in asked:
        raise UsageError(
            "--signature says not whom to trust", fix="add --key, --certificate, or --identity and --issuer"
        )
    return None


def _refuse_mixed(kinds: Sequence[str]) -> None:
    if len(kinds) > 1:
        raise UsageError(
            f"{' and '.join(f'--{kind}' for kind in kinds)} are given together",
            fix="a bundle has one signature: give one of them",
        )


def _refuse_without(needed: str, asked: Mapping[str, object], names: Sequence[str]) -> None:
    for name in names:
        if name in asked:
            raise UsageError(
                f"--{name.replace('_', '-')} goes with --{needed}", fix=f"add --{needed}, or leave it out"
            )
