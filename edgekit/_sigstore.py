"""Keyless signatures by Sigstore: a short certificate for an identity, in a log that anybody reads."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from edgekit._strict_json import parse_json, read_json
from edgekit.errors import BundleError, OutputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from edgekit._signers import Keyless, SignedAs

#: Where a token is looked for first without a file; cosign reads the same variable.
TOKEN = "SIGSTORE_ID_TOKEN"
_AUDIENCE = "sigstore"  # Fulcio's own client id
_TRUST_CONFIG = "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json"
_MOST_BYTES = 4 << 20  # Sigstore's own trust config has 12 kB
_MOST_TOKEN = 64 << 10
_MOST_LETTERS = 300  # of what a server or library says
_SERVERS_FAULT = 500  # the least such status of HTTP
_TUF = "tuf-repo-cdn.sigstore.dev"  # where the public-good instance's servers and keys are listed
# The issuer as a DER UTF8String; https://github.com/sigstore/fulcio/blob/main/docs/oid-info.md
_ISSUER = "1.3.6.1.4.1.57264.1.8"


def make_keyless_signer(config: Any, keyless: Keyless) -> Any:
    """model-signing's configuration that signs by Sigstore; the token is read before any work.

    Raises UsageError for a token or trust config that cannot be used, OutputError for a server that is away.
    """
    token = _read_token(keyless.identity_token)
    if keyless.trust_config is not None:
        _check_trust_config(keyless.trust_config)
    try:
        return config.use_sigstore_signer(identity_token=token, trust_config=keyless.trust_config)
    except Exception as error:
        _refuse_trust_config(error, keyless.trust_config)
        problem, fix = _explain(error)
        raise OutputError(f"the bundle is not signed: {problem}", fix=fix) from error


def make_identity_verifier(config: Any, signed_as: SignedAs) -> Any:
    """model-signing's configuration that asks for an identity; offline where a trust config is given.

    Raises UsageError for a trust config that cannot be used, BundleError where Sigstore's keys cannot be had.
    """
    if signed_as.trust_config is not None:
        _check_trust_config(signed_as.trust_config)
    try:
        return config.use_sigstore_verifier(
            identity=signed_as.identity, oidc_issuer=signed_as.issuer, trust_config=signed_as.trust_config
        )
    except Exception as error:
        _refuse_trust_config(error, signed_as.trust_config)
        problem, fix = _explain(error)
        raise BundleError(f"the signature cannot be checked: {problem}", fix=fix) from error


@contextmanager
def explain_signing() -> Iterator[None]:
    """What Sigstore's clients raise while they sign, as one line with the host and the way out."""
    try:
        yield
    except Exception as error:
        # The clients raise plain Exceptions of private modules; a file that cannot be written is not theirs.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        problem, fix = _explain(error)
        raise OutputError(f"the bundle is not signed: {problem}", fix=fix) from error


def tell_refusal(error: Exception) -> str:
    """Why a verifier does not take a signature."""
    from sigstore.errors import CertValidationError

    if isinstance(error, CertValidationError):
        return f"its certificate is not of the trusted instance, or was not valid when it signed ({error})"
    return str(error)


def read_identity(signature: Path) -> tuple[str, str]:
    """Identity and issuer in the certificate of a keyless signature that was just made."""
    from cryptography import x509
    from sigstore.models import Bundle

    extensions = Bundle.from_json(signature.read_text(encoding="utf-8")).signing_certificate.extensions
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    issuers = [one.value.public_bytes() for one in extensions if one.oid.dotted_string == _ISSUER]
    return ", ".join(str(name.value) for name in names), ", ".join(map(_decode_text, issuers))


def _decode_text(data: bytes) -> str:
    """A DER UTF8String: a tag, a length of one or more bytes, the text."""
    return data[2 + (data[1] & 0x7F if data[1] & 0x80 else 0) :].decode("utf-8", errors="replace")


def _read_token(file: Path | None) -> str | None:
    """The token that will sign; None: ask in the browser. UsageError where it cannot, or is of no use."""
    from jwt import ExpiredSignatureError
    from sigstore.errors import Error
    from sigstore.oidc import IdentityToken, detect_credential

    try:
        token = _read_file(file) if file else os.environ.get(TOKEN) or detect_credential(_AUDIENCE)
        if token is not None:
            IdentityToken(token, _AUDIENCE)
    except Error as error:
        cause = error.__cause__ or error
        reason = "it has expired" if isinstance(cause, ExpiredSignatureError) else _tell(cause)
        raise UsageError(
            f"the identity token cannot be used ({reason})",
            fix=f"get a new one from its issuer, for the audience '{_AUDIENCE}'",
        ) from error
    if token is None and not sys.stdin.isatty():
        raise UsageError(
            "no identity token, and nobody to log in",
            fix=f"give one with --identity-token or in ${TOKEN}, or run in a terminal with a browser",
        )
    return token


def _read_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_MOST_TOKEN).decode("ascii", errors="replace").strip()
    except OSError as error:
        raise UsageError(
            f"identity token '{path}' cannot be read ({error.strerror})",
            fix="name a file that holds the token",
        ) from error


def _check_trust_config(path: Path) -> None:
    fix = "give the JSON with mediaType, trustedRoot and signingConfig, as docs/sign.md makes it"
    try:
        content = read_json(path, _MOST_BYTES)
    except OSError as error:
        raise UsageError(f"trust config '{path}' cannot be read ({error.strerror})", fix=fix) from error
    except ValueError as error:
        raise UsageError(f"'{path}' is no trust config ({error})", fix=fix) from error
    found = content.get("mediaType") if isinstance(content, dict) else None
    if found != _TRUST_CONFIG:
        raise UsageError(f"'{path}' is no trust config (its mediaType is {found!r})", fix=fix)


def _refuse_trust_config(error: Exception, path: Path | None) -> None:
    """UsageError where the library cannot use the file; nothing where a server of it is away."""
    if path is not None and _find(error, "request") is None:
        raise UsageError(
            f"trust config '{path}' cannot be used ({_tell(error)})",
            fix="give the one that the Sigstore instance's operators publish",
        ) from error


def _explain(error: Exception) -> tuple[str, str]:
    """What went wrong at which server, and the way out."""
    from sigstore.errors import TUFError

    if isinstance(error, TUFError):
        return (
            f"Sigstore's servers and keys cannot be had from {_TUF} ({_tell(_list_causes(error)[-1])})",
            "run again where it can be reached, or give them in a file with --trust-config",
        )
    response, request = _find(error, "response"), _find(error, "request")
    if response is not None:
        told = f"{urlsplit(response.url).netloc} answers {response.status_code} {_read_refusal(response)}"
        again = "check that the instance takes tokens of this issuer, and get a new one"
        return told.rstrip(), again if response.status_code < _SERVERS_FAULT else "run again later"
    if request is not None:
        host = urlsplit(request.url).netloc
        return (
            f"{host} cannot be reached ({_tell(_list_causes(error)[-1])})",
            "run again where it can be reached, name your own instance with --trust-config, or use --key",
        )
    return (
        f"what Sigstore answered cannot be used ({_tell(error)})",
        "check that the trust config names servers and keys of one instance",
    )


def _list_causes(error: BaseException) -> list[BaseException]:
    found = [error]
    while (last := found[-1].__cause__ or found[-1].__context__) is not None and last not in found:
        found.append(last)
    return found


def _find(error: BaseException, name: str) -> Any:
    """The `request` or `response` that an exception of requests, or what it caused, carries."""
    held = (getattr(one, name, None) for one in _list_causes(error))
    return next((one for one in held if one is not None), None)


def _read_refusal(response: Any) -> str:
    """What a server says of its refusal: Fulcio's and Rekor's JSON has a message."""
    try:
        return f"({_shorten(str(parse_json(response.content[:_MOST_TOKEN])['message']))})"
    except (ValueError, KeyError, TypeError):
        return ""


def _tell(error: BaseException) -> str:
    """An exception in one short line."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return _shorten(" ".join(str(text).split()))


def _shorten(text: str) -> str:
    return text if len(text) <= _MOST_LETTERS else f"{text[:_MOST_LETTERS]}..."
