"""The peers of the Core ML target, each in an environment of its own (see peer_process)."""

from __future__ import annotations

from benchmarks.peer_process import Peer

_COREMLTOOLS = "coremltools==9.0"
_ONNX = "onnx==1.23.2"

PEERS = (
    # Without its dependency torchvision, which PyPI has for another torch than the CPU one; only RoiAlign and
    # NonMaxSuppression need it.
    Peer(
        "onnx2torch",
        "1.5.15",
        (("torch==2.13.0",), ("--no-deps", "onnx2torch==1.5.15"), (_COREMLTOOLS, _ONNX, "numpy==2.4.6")),
        1036,
    ),
    Peer("onnx2coreml", "1.1.0", (("onnx2coreml==1.1.0", _COREMLTOOLS, _ONNX, "numpy==2.4.6"),), 252),
    Peer("onnxsim", "0.8.1", (("onnxsim==0.8.1", _COREMLTOOLS, _ONNX, "numpy==2.4.6"),), 289),
)
