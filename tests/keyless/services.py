"""A Sigstore on loopback: issuer of tokens, Fulcio, Rekor and a timestamp authority (`openssl ts`) over HTTP.

They speak the services' own protocols and check what those check, so that the unmodified client signs with
them and the unmodified verifier takes what comes of it. What they are not: Sigstore's servers.
"""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.keyless.fulcio import DER, PEM, Fulcio, allow, certify, identify, make_key, public_bytes
from tests.keyless.rekor import Rekor, encode
from tests.loopback import QuietHandler, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric import ec

VALID = {"start": "2020-01-01T00:00:00Z"}
WORKFLOW = "https://github.com/team/edge/.github/workflows/release.yml@refs/heads/main"
ENDS = {"authorization": "auth", "token": "token"}  # of the issuer


@dataclass
class Sigstore:
    """answers: by path, the (status, body) that is sent instead of a service's own. asked: paths so far.

    version: of Rekor's API: 1 gives promises with a time, 2 leaves times to the authority.
    """

    folder: Path
    url: str = ""
    version: int = 1
    answers: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    token_key: ec.EllipticCurvePrivateKey = field(default_factory=make_key)
    fulcio: Fulcio = field(default_factory=Fulcio)
    rekor: Rekor = field(default_factory=Rekor)
    challenge: str = ""  # of the login under way

    def __post_init__(self) -> None:
        """The timestamp authority's key and certificate, as `openssl ts` reads them."""
        key, root = make_key(), self.fulcio.root_key
        made = certify("tsa", key, ("root", root)).add_extension(allow(ca=False), critical=True)
        stamping = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING])
        self.tsa = made.add_extension(stamping, critical=True).sign(root, hashes.SHA256())
        plain = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        (self.folder / "tsa.pem").write_bytes(key.private_bytes(PEM, *plain))
        (self.folder / "tsa.crt").write_bytes(self.tsa.public_bytes(PEM))
        (self.folder / "serial").write_text("01\n")
        (self.folder / "tsa.cnf").write_text(
            "[tsa]\nserial=serial\nsigner_cert=tsa.crt\nsigner_key=tsa.pem\nsigner_digest=sha256\n"
            "default_policy=1.2.3.4\ndigests=sha256\ness_cert_id_alg=sha256\n"
        )

    def make_token(self, subject: str = "dev@example.org", **claims: object) -> str:
        """A signed OpenID Connect token of ten minutes."""
        now = int(time.time())
        given = {"iss": self.url, "sub": subject, "aud": "sigstore", "iat": now, "exp": now + 600} | claims
        return jwt.encode(given, self.token_key, algorithm="ES256")

    def stamp(self, query: bytes) -> bytes:
        """RFC 3161's answer to a query, by OpenSSL."""
        (self.folder / "query.tsq").write_bytes(query)
        command = [
            "openssl",
            "ts",
            "-reply",
            "-config",
            "tsa.cnf",
            "-section",
            "tsa",
            "-queryfile",
            "query.tsq",
        ]
        return subprocess.run(command, cwd=self.folder, check=True, capture_output=True).stdout

    def log_in(self, asked: dict[str, str]) -> str:
        """Where the browser goes after a login."""
        self.challenge = asked["code_challenge"]
        return f"{asked['redirect_uri']}?{urlencode({'code': 'code', 'state': asked['state']})}"

    def answer(self, path: str, token: str, body: bytes) -> tuple[int, Any]:
        """What a service's POST comes to; the timestamp authority speaks bytes and stays out of it."""
        if path == "/token":
            (verifier,) = parse_qs(body.decode())["code_verifier"]
            digest = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest())
            known = digest.rstrip(b"=").decode() == self.challenge
            return (200, {"access_token": self.make_token()}) if known else (400, {"error": "invalid_grant"})
        request = json.loads(body)
        if path == "/api/v2/signingCert":
            key = self.token_key.public_key()
            return self.fulcio.issue(token, request["certificateSigningRequest"], key, self.url)
        return self.rekor.add(request) if path == "/api/v1/log/entries" else self.rekor.add_v2(request)

    def write_trust_config(self, **changed: str) -> Path:
        """The client trust config of these services. changed: another URL of `oidc`, `fulcio` or `rekor`."""
        place = self.folder / f"trust-{len(list(self.folder.glob('trust-*.json')))}.json"
        place.write_text(json.dumps(self.make_trust_config(**changed)))
        return place

    def make_trust_config(self, **changed: str) -> dict[str, Any]:
        def serve(name: str, path: str = "", version: int = 1) -> list[dict[str, Any]]:
            url = changed.get(name, self.url) + path
            return [{"url": url, "majorApiVersion": version, "validFor": VALID, "operator": "tests"}]

        return {
            "mediaType": "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json",
            "trustedRoot": {
                "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
                "tlogs": self._trust_log(self.rekor.key),
                "ctlogs": self._trust_log(self.fulcio.trusted_ct_key),
                "certificateAuthorities": self._trust_chain(self.fulcio.certificate, self.fulcio.root),
                "timestampAuthorities": self._trust_chain(self.tsa, self.fulcio.root),
            },
            "signingConfig": {
                "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
                "caUrls": serve("fulcio"),
                "oidcUrls": serve("oidc"),
                "rekorTlogUrls": serve("rekor", version=self.version),
                "tsaUrls": serve("tsa", "/api/v1/timestamp"),
                "rekorTlogConfig": {"selector": "ANY"},
                "tsaConfig": {"selector": "ANY"},
            },
        }

    def _trust_log(self, key: ec.EllipticCurvePrivateKey) -> list[dict[str, Any]]:
        held = {
            "rawBytes": encode(public_bytes(key)),
            "keyDetails": "PKIX_ECDSA_P256_SHA_256",
            "validFor": VALID,
        }
        log = {"keyId": encode(identify(key))}
        return [{"baseUrl": self.url, "hashAlgorithm": "SHA2_256", "publicKey": held, "logId": log}]

    def _trust_chain(self, *chain: x509.Certificate) -> list[dict[str, Any]]:
        raw = [{"rawBytes": encode(one.public_bytes(DER))} for one in chain]
        name = {"organization": "tests", "commonName": "tests"}
        return [{"subject": name, "uri": self.url, "certChain": {"certificates": raw}, "validFor": VALID}]


@contextmanager
def run_sigstore(folder: Path) -> Iterator[Sigstore]:
    """The services on a free port of loopback."""
    services = Sigstore(folder)

    class Handler(QuietHandler):
        def do_GET(self) -> None:  # noqa: N802 - the base class's name
            given = urlsplit(self.path)
            services.asked.append(given.path)
            asked = {key: values[0] for key, values in parse_qs(given.query).items()}
            if given.path == "/job":  # where a GitHub runner gives its jobs their tokens
                known = self.headers["authorization"] == "bearer of-the-job"
                token = services.make_token(WORKFLOW, aud=asked["audience"])
                return self.reply(200 if known else 401, json.dumps({"value": token}).encode())
            if given.path == "/auth":
                self.send_response(302)
                self.send_header("location", services.log_in(asked))
                return self.end_headers()
            ends = {f"{name}_endpoint": f"{services.url}/{path}" for name, path in ENDS.items()}
            return self.reply(200, json.dumps(ends).encode())

        def do_POST(self) -> None:  # noqa: N802 - the base class's name
            body = self.rfile.read(int(self.headers["content-length"]))
            services.asked.append(self.path)
            if self.path in services.answers:
                return self.reply(*services.answers[self.path])
            if self.path == "/api/v1/timestamp":
                return self.reply(201, services.stamp(body))
            token = self.headers.get("authorization", "").removeprefix("Bearer ")
            status, answer = services.answer(self.path, token, body)
            return self.reply(status, json.dumps(answer).encode())

    with serving(Handler) as place:
        services.url = f"http://{place}"
        yield services
