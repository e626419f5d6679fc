"""The options of the target `coreml`, as a user writes them (`--option coreml.NAME=VALUE`)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Literal, cast

from edgekit.errors import UsageError
from edgekit.targets.coreml.rewrite import OPTION, read_rewrite

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgekit._schemes import Compute
    from edgekit.target import Job

Layout = Literal["rgb", "bgr", "gray"]
Attention = Literal["fused", "plain"]
CHANNELS: dict[Layout, int] = {"rgb": 3, "bgr": 3, "gray": 1}
PALETTES = (1, 2, 4, 6, 8)
_KNOWN = ("attention", "cache", "compute", "image", "palettize", "sizes", "states", OPTION)


@dataclass(frozen=True)
class Picture:
    """An input that takes a picture of 8-bit pixels; the model gets pixel * scale + bias of the channel."""

    layout: Layout
    scale: float
    bias: tuple[float, ...]


@dataclass(frozen=True)
class Options:
    """compute: what a program with integers computes in between (fp16, fp32).

    image: inputs that are pictures, by name. sizes: the only shapes that an input takes, the default first.
    palettize: weights as indices of this many bits into a table; None: they are not.
    attention: one operation where the deployment target has it (fused), or products and softmax (plain).
    states: inputs that the device keeps from run to run, each with the output that it takes over.
    cache: the input that tells how many places of a decoder's cache are used; "": the cache is no state.
    """

    compute: Compute = "fp16"
    image: Mapping[str, Picture] = field(default_factory=dict)
    sizes: Mapping[str, tuple[tuple[int, ...], ...]] = field(default_factory=dict)
    palettize: int | None = None
    attention: Attention = "fused"
    states: Mapping[str, str] = field(default_factory=dict)
    cache: str = ""


def read_options(job: Job) -> Options:
    """UsageError for an unknown option or value, with the nearest known one."""
    for name in job.options:
        if name not in _KNOWN:
            near = get_close_matches(name, _KNOWN, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"its options are: {', '.join(_KNOWN)}"
            raise UsageError(f"target 'coreml' has no option '{name}'", fix=hint)
    read_rewrite(job)
    compute, attention = job.options.get("compute", "fp16"), job.options.get("attention", "fused")
    if compute not in ("fp16", "fp32"):
        raise UsageError(f"option compute={compute!r} is unknown", fix="use compute=fp16 or compute=fp32")
    if attention not in ("fused", "plain"):
        raise UsageError(
            f"option attention={attention!r} is unknown", fix="use attention=fused or attention=plain"
        )
    return Options(
        cast("Compute", compute),
        image={name: _picture(text) for name, text in _by_input(job, "image").items()},
        sizes={name: _sizes(text) for name, text in _by_input(job, "sizes").items()},
        palettize=_palettize(job.options.get("palettize")),
        attention=cast("Attention", attention),
        states=_by_input(job, "states"),
        cache=job.options.get("cache", "").strip(),
    )


def float_of(job: Job) -> Compute:
    """The float of this job's program: the variant's own, and the option's beside integers."""
    if job.precision in ("fp16", "fp32"):
        return job.precision
    return read_options(job).compute


def _by_input(job: Job, option: str) -> dict[str, str]:
    """`NAME=VALUE;NAME=VALUE` -> each input's value."""
    text = job.options.get(option, "")
    found = {}
    for part in filter(None, text.split(";")):
        name, equals, value = part.rpartition("=")
        if not equals or not name:
            raise UsageError(f"option {option}={text!r} names no input", fix=f"write {option}=INPUT=VALUE")
        found[name.strip()] = value.strip()
    return found


def _picture(text: str) -> Picture:
    """`rgb`, or `rgb:SCALE:BIAS` with one bias, or one a channel between commas."""
    layout, *numbers = text.split(":")
    fix = "write image=INPUT=rgb (or bgr, gray), or rgb:0.0078431:-1 (pixel * scale + bias)"
    if layout not in CHANNELS or len(numbers) > 2:
        raise UsageError(f"option image: {text!r} is no picture", fix=fix)
    try:
        scale = float(numbers[0]) if numbers else 1.0
        bias = [float(item) for item in numbers[1].split(",")] if len(numbers) > 1 else [0.0]
    except ValueError as error:
        raise UsageError(f"option image: {text!r} holds no numbers", fix=fix) from error
    bias = bias * CHANNELS[layout] if len(bias) == 1 else bias
    if len(bias) != CHANNELS[layout] or not 0 < abs(scale) < float("inf"):
        raise UsageError(f"option image: {text!r} needs a scale and {CHANNELS[layout]} biases", fix=fix)
    return Picture(layout, scale, tuple(bias))


def _sizes(text: str) -> tuple[tuple[int, ...], ...]:
    """`1x3x48x160,1x3x48x320` -> those shapes."""
    shapes = text.split(",")
    if not all(re.fullmatch(r"\d{1,9}(x\d{1,9})*", shape) for shape in shapes):
        raise UsageError(
            f"option sizes: {text!r} are no shapes", fix="write sizes=INPUT=1x3x48x160,1x3x48x320"
        )
    return tuple(tuple(int(size) for size in shape.split("x")) for shape in shapes)


def _palettize(text: str | None) -> int | None:
    if text is None:
        return None
    if not text.isdigit() or int(text) not in PALETTES:
        raise UsageError(
            f"option palettize={text!r} is unknown", fix=f"use one of: {', '.join(map(str, PALETTES))} bits"
        )
    return int(text)
