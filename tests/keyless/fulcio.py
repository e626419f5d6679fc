"""A Fulcio: certificates for whom a token names, each with the timestamp (SCT) of a log of certificates."""

from __future__ import annotations

import base64
import hashlib
import struct
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID

DER, PEM = serialization.Encoding.DER, serialization.Encoding.PEM
SHA256 = ec.ECDSA(hashes.SHA256())
CA = x509.BasicConstraints(ca=True, path_length=None)


def make_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def public_bytes(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def identify(key: ec.EllipticCurvePrivateKey) -> bytes:
    """RFC 6962, 3.2: a log's id is the digest of its key."""
    return hashlib.sha256(public_bytes(key)).digest()


def certify(
    name: str, key: ec.EllipticCurvePrivateKey, issuer: tuple[str, ec.EllipticCurvePrivateKey]
) -> x509.CertificateBuilder:
    """What every certificate of the instance has: names, keys' ids, a serial and a year."""
    now = datetime.now(UTC)
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, one)]) for one in (name, issuer[0])]
    above = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer[1].public_key())
    return (
        x509.CertificateBuilder(names[1], names[0], key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=365))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(above, critical=False)
    )


def allow(*, ca: bool) -> x509.KeyUsage:
    others = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    refused = dict.fromkeys((*others, "encipher_only", "decipher_only"), False)
    return x509.KeyUsage(digital_signature=not ca, key_cert_sign=ca, crl_sign=ca, **refused)


@dataclass
class Fulcio:
    """lifetime: of a certificate. ct_key: what signs SCTs; another than the trusted one makes them false."""

    lifetime: timedelta = timedelta(minutes=10)
    root_key: ec.EllipticCurvePrivateKey = field(default_factory=make_key)
    key: ec.EllipticCurvePrivateKey = field(default_factory=make_key)
    ct_key: ec.EllipticCurvePrivateKey = field(default_factory=make_key)

    def __post_init__(self) -> None:
        self.trusted_ct_key = self.ct_key
        code = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING])
        above = ("root", self.root_key)
        made = certify("root", self.root_key, above).add_extension(CA, critical=True)
        self.root = made.add_extension(allow(ca=True), critical=True).sign(self.root_key, hashes.SHA256())
        made = certify("fulcio", self.key, above).add_extension(CA, critical=True)
        made = made.add_extension(allow(ca=True), critical=True).add_extension(code, critical=False)
        self.certificate = made.sign(self.root_key, hashes.SHA256())

    def issue(self, token: str, request: str, key: ec.EllipticCurvePublicKey, issuer: str) -> tuple[int, Any]:
        """`POST /api/v2/signingCert`. request: the CSR, PEM in base64. key: of the issuer's tokens."""
        try:
            claims = jwt.decode(token, key, ["ES256"], audience="sigstore", issuer=issuer)
        except jwt.PyJWTError as error:
            return 401, {"code": 16, "message": f"There was an error processing the identity token: {error}"}
        asked = x509.load_pem_x509_csr(base64.b64decode(request))
        if not asked.is_signature_valid:
            return 400, {"code": 3, "message": "The signature supplied in the request could not be verified"}
        made = self._certify_signer(claims["sub"], asked, issuer.encode())
        chain = [one.public_bytes(PEM).decode() for one in (made, self.certificate, self.root)]
        return 200, {"signedCertificateEmbeddedSct": {"chain": {"certificates": chain}}}

    def _certify_signer(
        self, subject: str, asked: x509.CertificateSigningRequest, issuer: bytes
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        name = x509.RFC822Name(subject) if "@" in subject else x509.UniformResourceIdentifier(subject)
        code = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING])
        above = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        serial = x509.random_serial_number()
        made = (
            x509.CertificateBuilder(self.certificate.subject, x509.Name([]), asked.public_key(), serial)
            .not_valid_before(now)
            .not_valid_after(now + self.lifetime)
            .add_extension(allow(ca=False), critical=True)
            .add_extension(code, critical=False)
            .add_extension(above, critical=False)
            .add_extension(x509.SubjectAlternativeName([name]), critical=True)
        )
        # The issuer as Fulcio writes it: bare bytes in the older extension, a UTF8String in the newer.
        for number, value in (("1", issuer), ("8", bytes([0x0C, len(issuer)]) + issuer)):
            oid = x509.ObjectIdentifier(f"1.3.6.1.4.1.57264.1.{number}")
            made = made.add_extension(x509.UnrecognizedExtension(oid, value), critical=False)
        logged = self._log(made.sign(self.key, hashes.SHA256()).tbs_certificate_bytes)
        oid = ExtensionOID.PRECERT_SIGNED_CERTIFICATE_TIMESTAMPS
        made = made.add_extension(x509.UnrecognizedExtension(oid, logged), critical=False)
        return made.sign(self.key, hashes.SHA256())

    def _log(self, tbs: bytes) -> bytes:
        """RFC 6962, 3.2 and 3.3: the SCT of a precertificate, in the list that the certificate carries."""
        stamp = struct.pack("!Q", int(time.time() * 1000))
        entry = identify(self.key) + len(tbs).to_bytes(3, "big") + tbs
        signed = self.ct_key.sign(b"\0\0" + stamp + b"\0\1" + entry + b"\0\0", SHA256)
        sct = (
            b"\0"
            + identify(self.ct_key)
            + stamp
            + b"\0\0"
            + b"\4\3"
            + struct.pack("!H", len(signed))
            + signed
        )
        listed = struct.pack("!HH", len(sct) + 2, len(sct)) + sct
        assert len(listed) < 128  # DER: one byte of length
        return bytes([0x04, len(listed)]) + listed
