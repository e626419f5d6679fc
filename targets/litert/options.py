"""The options of this target (`--option litert.NAME=VALUE`), read once."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Literal, cast

from edgekit.errors import UsageError

if TYPE_CHECKING:
    from edgekit.target import Job

WeightKernels = Literal["float", "dynamic"]
IoLayout = Literal["onnx", "nhwc"]
Activations = Literal["int8", "int16x8"]

_CHOICES = {
    "weights": ("float", "dynamic"),
    "io-layout": ("onnx", "nhwc"),
    "activations": ("int8", "int16x8"),
}
_KNOWN = (*_CHOICES, "aot", "inline-bytes")
# A flatbuffer's offsets are 31 bits; weights beyond that need LiteRT's external buffers.
LARGEST_BYTES = 2_000_000_000


@dataclass(frozen=True)
class Options:
    """weights: `float` restores integer weights and computes in float; `dynamic` lets LiteRT's kernels
    quantize the data on the fly beside them. io_layout: of 4-dim inputs and outputs. inline_bytes: more
    weights than this lie behind the flatbuffer, as LiteRT's external buffers. aot: the chip that LiteRT
    compiles for ahead of time, "" for none. activations: `int16x8` lets a search give nodes 16-bit data.
    """

    weights: WeightKernels = "float"
    io_layout: IoLayout = "onnx"
    inline_bytes: int = LARGEST_BYTES
    aot: str = ""
    activations: Activations = "int8"


def read_options(job: Job) -> Options:
    """UsageError for an unknown option or value, naming the nearest known one."""
    for name, value in job.options.items():
        if name not in _KNOWN:
            raise UsageError(f"target 'litert' has no option '{name}'", fix=_hint(name, _KNOWN))
        if name in _CHOICES and value not in _CHOICES[name]:
            raise UsageError(f"litert.{name} '{value}' is unknown", fix=_hint(value, _CHOICES[name]))
    return Options(
        weights=cast("WeightKernels", job.options.get("weights", "float")),
        io_layout=cast("IoLayout", job.options.get("io-layout", "onnx")),
        inline_bytes=_bytes(job.options.get("inline-bytes", str(LARGEST_BYTES))),
        aot=job.options.get("aot", ""),
        activations=cast("Activations", job.options.get("activations", "int8")),
    )


def _bytes(text: str) -> int:
    if not text.isdecimal() or len(text) > 12 or int(text) > LARGEST_BYTES:
        raise UsageError(
            f"litert.inline-bytes '{text}' is no count of bytes up to {LARGEST_BYTES}",
            fix="leave it out: weights go behind the flatbuffer where they do not fit into it",
        )
    return int(text)


def _hint(name: str, known: tuple[str, ...]) -> str:
    near = get_close_matches(name, known, n=1)
    return f"{f'did you mean {near[0]!r}? ' if near else ''}known: {', '.join(known)}"
