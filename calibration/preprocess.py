"""How an image becomes a model's input: size, fit, colour order, mean and std, layout; and its text form."""

from __future__ import annotations

import difflib
import math
import re
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from edgekit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Fit = Literal["stretch", "letterbox", "center-crop", "pad-right"]
Layout = Literal["NCHW", "NHWC"]
Colour = Literal["RGB", "BGR", "GRAY"]
Interpolation = Literal["nearest", "bilinear", "bicubic", "box", "lanczos"]

_LARGEST_SIDE = 16384


@dataclass(frozen=True)
class Preprocess:
    """value = (pixel * scale - mean) / std, with pixels of 0 to 255, per channel in the order of `colour`.

    size: (width, height) in pixels, None keeps each image's own.
    fit: `stretch` to the size; `letterbox` keeps the ratio and pads around; `center-crop` fills the size
    and cuts the rest; `pad-right` keeps the ratio at full height and pads to the right (text lines).
    pad: pixel value of the padding; None pads with 0 after mean and std.
    mean, std: one number, or one a channel.
    """

    size: tuple[int, int] | None
    fit: Fit = "stretch"
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    scale: float = 1 / 255
    layout: Layout = "NCHW"
    colour: Colour = "RGB"
    interpolation: Interpolation = "bilinear"
    pad: float | None = None

    def __str__(self) -> str:
        """The canonical text form, which `parse_preprocess` reads back to an equal value."""
        parts = [
            f"size={'keep' if self.size is None else f'{self.size[0]}x{self.size[1]}'}",
            f"fit={self.fit}",
        ]
        parts += [f"mean={'/'.join(map(repr, self.mean))}", f"std={'/'.join(map(repr, self.std))}"]
        parts += [f"scale={self.scale!r}", f"layout={self.layout}", f"colour={self.colour}"]
        parts += [
            f"interpolation={self.interpolation}",
            f"pad={'none' if self.pad is None else repr(self.pad)}",
        ]
        return ",".join(parts)


def parse_preprocess(given: str | Mapping[str, object]) -> Preprocess:
    """Read `size=320x48,fit=pad-right,mean=0.5,std=0.5,...` or the same as a mapping or a .toml file.

    `size` must be there (WIDTHxHEIGHT, or `keep`). An unknown key or value raises UsageError naming the
    nearest known one.
    """
    if isinstance(given, str) and given.endswith(".toml"):
        given = _read_toml(Path(given))
    pairs = (
        _split(given) if isinstance(given, str) else {key: _to_text(value) for key, value in given.items()}
    )
    known = [field.name for field in fields(Preprocess)]
    for key in pairs:
        if key not in known:
            raise UsageError(f"preprocessing has no '{key}'", fix=_suggest(key, known))
    if "size" not in pairs:
        raise UsageError("preprocessing names no size", fix="add size=WIDTHxHEIGHT, or size=keep")
    read = {key: _READERS[key](key, value) for key, value in pairs.items()}
    spec = Preprocess(**read)  # type: ignore[arg-type]  # each reader gives its field's type
    channels = 1 if spec.colour == "GRAY" else 3
    for key, values in (("mean", spec.mean), ("std", spec.std)):
        if len(values) not in (1, channels):
            raise UsageError(
                f"preprocessing {key} has {len(values)} numbers, colour {spec.colour} has {channels}",
                fix=f"give 1 or {channels} numbers, as in {key}=0.5",
            )
    return spec


def _read_toml(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(
            f"preprocessing file '{path}' cannot be read: {error}", fix="write size = [320, 48] and so on"
        ) from error


def _split(text: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or key in pairs:
            problem = "occurs twice" if equals else "is not KEY=VALUE"
            raise UsageError(
                f"preprocessing '{part}' {problem}", fix="write size=320x48,fit=pad-right,mean=0.5,std=0.5"
            )
        pairs[key] = value
    return pairs


def _to_text(value: object) -> str:
    if isinstance(value, list | tuple):
        return "/".join(str(part) for part in value)
    return "none" if value is None else str(value)


def _suggest(word: str, known: list[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f"did you mean '{near[0]}'?" if near else f"use one of {', '.join(known)}"


def _read_size(key: str, text: str) -> tuple[int, int] | None:
    if text in ("keep", "none"):
        return None
    found = re.fullmatch(r"(\d{1,5})[xX/](\d{1,5})", text)
    if not found or not all(1 <= int(side) <= _LARGEST_SIDE for side in found.groups()):
        raise UsageError(
            f"preprocessing {key}={text} is not WIDTHxHEIGHT of 1 to {_LARGEST_SIDE}", fix="write size=320x48"
        )
    return int(found[1]), int(found[2])


def _read_number(key: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or (value == 0 and key in ("std", "scale")):
        raise UsageError(f"preprocessing {key}={text} is no usable number", fix=f"write {key}=0.5")
    return value


def _read_numbers(key: str, text: str) -> tuple[float, ...]:
    return tuple(_read_number(key, part) for part in text.split("/"))


def _read_pad(key: str, text: str) -> float | None:
    return None if text == "none" else _read_number(key, text)


def _one_of(choices: tuple[str, ...]) -> Callable[[str, str], str]:
    def read(key: str, text: str) -> str:
        if text not in choices:
            raise UsageError(f"preprocessing {key}={text} is unknown", fix=_suggest(text, list(choices)))
        return text

    return read


_READERS: dict[str, Callable[[str, str], object]] = {
    "size": _read_size,
    "fit": _one_of(get_args(Fit)),
    "mean": _read_numbers,
    "std": _read_numbers,
    "scale": _read_number,
    "layout": _one_of(get_args(Layout)),
    "colour": _one_of(get_args(Colour)),
    "interpolation": _one_of(get_args(Interpolation)),
    "pad": _read_pad,
}
