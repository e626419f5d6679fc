"""The peer of the LiteRT target: onnx2tf in an environment of its own (its pins can't live beside ours)."""

from __future__ import annotations

from benchmarks.peer_process import Peer

VERSION = "2.6.9"
# It asks for Python 3.12 and runs on 3.11.
ONNX2TF = Peer("onnx2tf", VERSION, (("--ignore-requires-python", f"onnx2tf=={VERSION}"),), 675)
