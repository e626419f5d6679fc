"""The token server of a registry: signed tokens for just the scope that is asked for, and no other."""

from __future__ import annotations

import base64
import json
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from tests.loopback import QuietHandler, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ISSUER, SERVICE = "tests", "registry"


@contextmanager
def run_token_server(folder: Path, login: str) -> Iterator[tuple[str, list[str]]]:
    """The `auth:` part of a registry's configuration, and the scopes asked for so far.

    login: `name:password` that must be shown.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _certify(key)
    (folder / "root.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    scopes: list[str] = []
    wanted = f"Basic {base64.b64encode(login.encode()).decode()}"

    class Handler(QuietHandler):
        def do_GET(self) -> None:  # noqa: N802 - the base class's name
            scope = parse_qs(urlsplit(self.path).query).get("scope", [""])[0]
            scopes.append(scope)
            known = self.headers["authorization"] == wanted
            body = json.dumps({"token": _sign(key, certificate, scope)} if known else {}).encode()
            self.reply(200 if known else 401, body)

    with serving(Handler) as place:
        realm = f"http://{place}/token"
        words = f"realm: {realm}, service: {SERVICE}, issuer: {ISSUER}, rootcertbundle: {folder / 'root.crt'}"
        yield f"auth:\n  token: {{{words}}}\n", scopes


def _certify(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name, now = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, ISSUER)]), datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(hours=1))
    return made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True).sign(
        key, hashes.SHA256()
    )


def _sign(key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate, scope: str) -> str:
    """A JSON web token (ES256) as distribution's token specification has it."""
    der = base64.b64encode(certificate.public_bytes(serialization.Encoding.DER)).decode()
    kind, _, rest = scope.partition(":")
    name, _, actions = rest.rpartition(":")
    now = int(time.time())
    claims = {
        "iss": ISSUER, "sub": "somebody", "aud": SERVICE, "jti": str(now),
        "exp": now + 60, "nbf": now - 60, "iat": now,
        "access": [{"type": kind, "name": name, "actions": actions.split(",")}],
    }  # fmt: skip
    head = {"typ": "JWT", "alg": "ES256", "x5c": [der]}
    signed = ".".join(_encode(json.dumps(part).encode()) for part in (head, claims))
    pair = decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
    return f"{signed}.{_encode(b''.join(number.to_bytes(32, 'big') for number in pair))}"


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
