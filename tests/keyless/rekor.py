"""A Rekor: a log of signatures that proves what it holds, by the first and the second version of its API."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec

from tests.keyless.fulcio import SHA256, identify, make_key

if TYPE_CHECKING:
    from collections.abc import Sequence

EARLIER = (b"first", b"second", b"third", b"fourth", b"fifth")  # what the log holds already
INDEX = len(EARLIER)


def encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


def write_canonical(value: object) -> bytes:
    """RFC 8785, for texts and small integers: an entry has no others."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def prove_last(leaves: Sequence[bytes]) -> tuple[bytes, list[bytes]]:
    """RFC 6962, 2.1: the root of a tree, and the audit path of its last leaf."""
    if len(leaves) == 1:
        return hashlib.sha256(b"\0" + leaves[0]).digest(), []
    split = 1 << (len(leaves) - 1).bit_length() - 1
    left, (right, path) = prove_last(leaves[:split])[0], prove_last(leaves[split:])
    return hashlib.sha256(b"\1" + left + right).digest(), [*path, left]


@dataclass
class Rekor:
    """delay: seconds by which the log's clock is ahead."""

    delay: float = 0.0
    key: ec.EllipticCurvePrivateKey = field(default_factory=make_key)

    def add(self, proposed: Any) -> tuple[int, Any]:
        """`POST /api/v1/log/entries` of kind dsse: an entry with a promise and a proof."""
        content = proposed["spec"]["proposedContent"]
        (verifier,), envelope = content["verifiers"], json.loads(content["envelope"])
        payload, (signature,) = base64.b64decode(envelope["payload"]), envelope["signatures"]
        kind = envelope["payloadType"].encode()
        signed = b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)
        key = x509.load_pem_x509_certificate(base64.b64decode(verifier)).public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        try:
            key.verify(base64.b64decode(signature["sig"]), signed, SHA256)
        except InvalidSignature:
            return 400, {"code": 400, "message": "verifying signature"}
        digests = {"envelopeHash": content["envelope"].encode(), "payloadHash": payload}
        spec: dict[str, Any] = {
            name: {"algorithm": "sha256", "value": hashlib.sha256(data).hexdigest()}
            for name, data in digests.items()
        }
        spec["signatures"] = [{"signature": signature["sig"], "verifier": verifier}]
        return 201, self._promise(write_canonical({"apiVersion": "0.0.1", "kind": "dsse", "spec": spec}))

    def _promise(self, body: bytes) -> dict[str, Any]:
        root, path = prove_last([*EARLIER, body])
        entry = {
            "body": encode(body),
            "integratedTime": int(time.time() + self.delay),
            "logID": identify(self.key).hex(),
            "logIndex": 1000 + INDEX,  # over all trees; the proof's is that of this one
        }
        proof = {
            "checkpoint": self._sign_checkpoint(root),
            "hashes": [one.hex() for one in path],
            "logIndex": INDEX,
            "rootHash": root.hex(),
            "treeSize": INDEX + 1,
        }
        promise = encode(self.key.sign(write_canonical(entry), SHA256))
        return {
            "0" * 80: entry | {"verification": {"inclusionProof": proof, "signedEntryTimestamp": promise}}
        }

    def add_v2(self, request: Any) -> tuple[int, Any]:
        """`POST /api/v2/log/entries`: a TransparencyLogEntry, without a time of its own."""
        given = request["hashedRekordRequestV002"]
        spec = {"data": {"algorithm": "SHA2_256", "digest": given["digest"]}, "signature": given["signature"]}
        kind = {"apiVersion": "0.0.2", "kind": "hashedrekord"}
        body = write_canonical(kind | {"spec": {"hashedRekordV002": spec}})
        root, path = prove_last([*EARLIER, body])
        return 201, {
            "logIndex": str(INDEX),
            "logId": {"keyId": encode(identify(self.key))},
            "kindVersion": {"kind": "hashedrekord", "version": "0.0.2"},
            "inclusionProof": {
                "checkpoint": {"envelope": self._sign_checkpoint(root)},
                "hashes": [encode(one) for one in path],
                "logIndex": str(INDEX),
                "rootHash": encode(root),
                "treeSize": str(INDEX + 1),
            },
            "canonicalizedBody": encode(body),
        }

    def _sign_checkpoint(self, root: bytes) -> str:
        """A signed note: https://github.com/C2SP/C2SP/blob/main/signed-note.md"""
        note = f"127.0.0.1\n{INDEX + 1}\n{encode(root)}\n"
        signed = identify(self.key)[:4] + self.key.sign(note.encode(), SHA256)
        return f"{note}\n\u2014 127.0.0.1 {encode(signed)}\n"
