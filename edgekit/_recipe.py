"""The recipe: everything one convert needs, as a frozen value that Python, the CLI and a TOML file share."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypedDict, cast, get_args

from edgekit._budget import Limit, parse_budget
from edgekit._values import DimRange, Precision
from edgekit.errors import UsageError

if TYPE_CHECKING:
    from typing import Any, Unpack

SchemeChoice = Literal["auto", "portable", "native"]
GoldenChoice = Literal["samples", "random"]
WeightBlock = Literal[0, 32, 64, 128]
PrecisionChoice = Literal["auto", "int8", "w8", "w4", "fp16", "fp32"]
# What `--precision auto` allows INT8 to lose where no --max-drop says it (issue 7).
AUTO_DROP = 0.005
RoundingChoice = Literal["nearest", "adaround"]
WeightMethod = Literal["auto", "rtn", "hqq", "gptq"]
Shape = str | Sequence[int | str | DimRange]
# The fields of edgekit._verify.Gate, named here because that room imports numpy; a test compares the two.
GATE_LIMITS = (
    "min_sqnr_db",
    "min_top1",
    "min_cosine",
    "max_abs",
    "min_reference_sqnr_db",
    "max_lowering_loss_db",
    "lowered_sqnr_db",
    "max_task_drop",
)
_DIM = re.compile(r"([0-9]{1,18})(?:\.\.([0-9]{1,18}))?")
_SHAPE_EXAMPLE = "write it as --shape NAME=1,3,48,320 or, with ranges, NAME=1..8,3,48,32..640"


class RecipeOptions(TypedDict, total=False):
    """What a caller may give beside the model; each is explained at the field of `Recipe`."""

    targets: str | Sequence[str]
    precisions: str | Sequence[str]
    samples: str | Path | Callable[..., Any] | None
    limit: int | None
    preprocess: str | Mapping[str, Any] | None
    observer: str | None
    shapes: str | Sequence[str] | Mapping[str, Shape] | None
    bind: Mapping[str, Any]
    budget: str | Mapping[str, Any] | None
    scheme: str
    float_nodes: str | Sequence[str]
    only_ops: str | Sequence[str]
    weight_block: int
    weights: str
    rounding: str
    max_drop: str | float | None
    metric: str | None
    vocabulary: str | Path | None
    gate: Mapping[str, Any]
    golden: str
    golden_count: int
    sketch: str | Sequence[str]
    output: str | Path | None
    archive: bool
    overwrite: bool
    cache: str | Path | None
    trusted: bool
    options: Mapping[str, Any]


@dataclass(frozen=True)
class Recipe:
    """One convert.

    targets: as typed (device, device@software, alias or toolchain).
    precisions: empty means int8 with samples, else each target's default float; `auto` becomes int8 with
        a max_drop of AUTO_DROP, where none is given.
    samples: a folder, a file, "random", "module:function" or a callable; None: no calibration.
    limit: take the first samples only.
    preprocess: for images, `size=320x48,mean=0.5,...` or the same as a table.
    observer: None is the calibration room's default.
    bind: input -> the value it always has, as text (`sr` -> `16000`): it becomes a constant.
    shapes: input -> dims; scheme "auto" takes each target's own.
    float_nodes: nodes kept in float; only_ops: quantize these op types only (empty: all of the table).
    weight_block: how many int4 weights share a scale under w4; 0: all of a channel.
    max_drop: the share that INT8 may lose on the samples: schemes, ranges and layers are searched for it.
    weights: how w8 and w4 round: to the nearest, hqq, gptq, or (auto) gptq where samples show it nearer.
    rounding: how INT8 rounds its weights: to the nearest, or by adaround where a layer's outputs gain by it.
    metric: "top1", "cer", "exact", "cosine" or "module:function".
    vocabulary: a text file with a character a line, for cer and exact; None: the model's own metadata.
    gate: limits that take the place of gate.toml's (names: GATE_LIMITS; min_top1 may be "90%").
    sketch: nodes or tensors inside the model whose values on the samples are sketched for `drift`.
    output: None is `./<model>-edgekit`. cache: a folder, "off", or None for the default.
    trusted: pickles in the source may be loaded, which runs code of whoever wrote them.
    options: the targets' own, as text.
    """

    model: Path
    targets: tuple[str, ...] = ()
    precisions: tuple[Precision, ...] = ()
    samples: str | Callable[..., Any] | None = None
    limit: int | None = None
    preprocess: str | Mapping[str, Any] | None = None
    observer: str | None = None
    shapes: Mapping[str, tuple[DimRange, ...]] = field(default_factory=dict)
    bind: Mapping[str, str] = field(default_factory=dict)
    budget: Mapping[str, Limit] = field(default_factory=dict)
    scheme: SchemeChoice = "auto"
    float_nodes: tuple[str, ...] = ()
    only_ops: tuple[str, ...] = ()
    weight_block: WeightBlock = 32
    weights: WeightMethod = "auto"
    rounding: RoundingChoice = "nearest"
    max_drop: float | None = None
    metric: str | None = None
    vocabulary: str | None = None
    gate: Mapping[str, float] = field(default_factory=dict)
    golden: GoldenChoice = "samples"
    golden_count: int = 4
    sketch: tuple[str, ...] = ()
    output: Path | None = None
    archive: bool = False
    overwrite: bool = False
    cache: str | None = None
    trusted: bool = False
    options: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, model: str | Path, **given: Unpack[RecipeOptions]) -> Recipe:
        """A recipe from what a person types; raises UsageError for every value that makes no sense."""
        refuse_unknown(given, [item.name for item in fields(cls)], "option")
        values = {name: _value(name, value) for name, value in given.items()}
        return cls(model=Path(model), **cast("Any", _settle_auto(values)))

    @property
    def output_folder(self) -> Path:
        """Where the bundles go, one folder a device below it."""
        return self.output if self.output is not None else Path(f"{_short_name(self.model)}-edgekit")


def _short_name(model: Path) -> str:
    """A file's name without its ending, a folder's whole name, of `package.module:factory` the factory."""
    if model.is_dir():
        return model.resolve().name
    return model.stem if model.exists() or ":" not in model.name else model.name.rpartition(":")[2]


def _settle_auto(values: dict[str, object]) -> dict[str, object]:
    """Precision `auto` is INT8 that is searched for a max_drop, by default AUTO_DROP."""
    asked = cast("tuple[str, ...]", values.get("precisions", ()))
    if "auto" not in asked:
        return values
    settled = tuple(dict.fromkeys("int8" if name == "auto" else name for name in asked))
    drop = values.get("max_drop")
    return {**values, "precisions": settled, "max_drop": AUTO_DROP if drop is None else drop}


def _value(name: str, value: object) -> object:
    try:
        return _READ[name](value)
    except (TypeError, AttributeError) as error:
        raise UsageError(
            f"{name} {value!r} has the wrong form ({error})", fix="docs/recipe.md shows each option's form"
        ) from error


def parse_shapes(given: str | Sequence[str] | Mapping[str, Shape] | None) -> dict[str, tuple[DimRange, ...]]:
    """Dims by input name, from `NAME=1..8,3,48,320` texts (split at the last '=') or a mapping."""
    if not given:
        return {}
    if isinstance(given, Mapping):
        return {name: _dims(name, shape) for name, shape in given.items()}
    shapes: dict[str, tuple[DimRange, ...]] = {}
    for text in [given] if isinstance(given, str) else given:
        name, equals, dims = text.rpartition("=")
        if not (equals and name):
            raise UsageError(f"shape '{text}' is not NAME=DIMS", fix=_SHAPE_EXAMPLE)
        if name in shapes:
            raise UsageError(f"input '{name}' is given two shapes", fix="keep one, with ranges if needed")
        shapes[name] = _dims(name, dims)
    return shapes


def _dims(name: str, shape: Shape) -> tuple[DimRange, ...]:
    if isinstance(shape, str):
        text = shape.strip()
        return tuple(_dim(name, part) for part in text.split(",")) if text not in {"", "[]"} else ()
    return tuple(part if isinstance(part, DimRange) else _dim(name, str(part)) for part in shape)


def _dim(name: str, text: str) -> DimRange:
    match = _DIM.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"dim '{text}' of input '{name}' is no size and no range", fix=_SHAPE_EXAMPLE)
    low, high = int(match[1]), int(match[2] or match[1])
    if low < 1 or high < low:
        raise UsageError(
            f"dim '{text}' of input '{name}' must be at least 1 and not run backwards", fix=_SHAPE_EXAMPLE
        )
    return DimRange(low, high)


def refuse_unknown(given: Mapping[str, object], known: Sequence[str], what: str) -> None:
    """Raise UsageError for a key that is not known, naming the nearest one that is."""
    for name in given:
        if name not in known:
            near = get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"did you mean '{near[0]}'? " if near else ""
            raise UsageError(f"unknown {what} '{name}'", fix=f"{hint}known: {', '.join(known)}")


def _words(value: str | Sequence[str] | None) -> tuple[str, ...]:
    """A text or a sequence of texts, each kept as typed and only once."""
    items = [value] if isinstance(value, str) else list(value or ())
    for item in items:
        if not isinstance(item, str) or not item.strip():
            raise UsageError(f"'{item}' is no name", fix="give names as text, none of them empty")
    return tuple(dict.fromkeys(items))


def _choice(name: str, kind: object) -> Callable[[Any], Any]:
    known = get_args(kind)

    def read(value: object) -> str:
        if isinstance(value, bool) or value not in known:
            near = get_close_matches(str(value), [str(item) for item in known], n=1)
            hint = f"did you mean '{near[0]}'? " if near else ""
            choices = ", ".join(map(str, known))
            raise UsageError(f"{name} '{value}' is unknown", fix=f"{hint}choose from {choices}")
        return cast("str", value)

    return read


def _gate(given: Mapping[str, Any]) -> dict[str, float]:
    """Gate limits as numbers; a share (min_top1) may be 0.9 or "90%"."""
    refuse_unknown(given, GATE_LIMITS, "gate limit")
    return {name: _limit_number(name, value) for name, value in given.items()}


def _limit_number(name: str, value: object) -> float:
    if name == "min_top1":
        return _share(name, value)
    return _number(name, str(value).strip(), given=value)


def _share(name: str, value: object) -> float:
    """A share as 0.9 or "90%"."""
    text = str(value).strip()
    number = _number(name, text.removesuffix("%"), given=value) / (100 if text.endswith("%") else 1)
    if not 0 <= number <= 1:
        raise UsageError(f"{name} '{value}' is not within 0 and 1", fix="write 0.9, or 90%")
    return number


def _number(name: str, text: str, *, given: object) -> float:
    try:
        number = math.nan if isinstance(given, bool) else float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise UsageError(f"{name} '{given}' is not a number", fix=f"give a finite number, as {name} = 10")
    return number


def _count(name: str) -> Callable[[Any], int | None]:
    def read(value: object) -> int | None:
        if value is None and name == "limit":
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 1_000_000:
            raise UsageError(f"{name} '{value}' is not a count", fix="give a whole number from 1 up")
        return value

    return read


def _switch(name: str) -> Callable[[Any], bool]:
    def read(value: object) -> bool:
        if not isinstance(value, bool):
            raise UsageError(f"{name} '{value}' is neither true nor false", fix="give true or false")
        return value

    return read


def _text(name: str) -> Callable[[Any], Any]:
    """Text or a path as text; a callable or a table stays what it is."""
    read_text = _plain_text(name)
    return lambda value: value if callable(value) or isinstance(value, Mapping) else read_text(value)


def _plain_text(name: str) -> Callable[[Any], str | None]:
    """Text or a path as text."""

    def read(value: object) -> str | None:
        if value is None or (isinstance(value, (str, Path)) and str(value).strip()):
            return None if value is None else str(value)
        raise UsageError(f"{name} '{value}' is not text", fix=f"give {name} as text or leave it out")

    return read


def _option_texts(value: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(item) for name, item in value.items()}


def _precisions(value: str | Sequence[str]) -> tuple[str, ...]:
    return tuple(_choice("precision", PrecisionChoice)(word) for word in _words(value))


_READ: dict[str, Callable[[Any], Any]] = {
    "targets": _words,
    "precisions": _precisions,
    "samples": _text("samples"),
    "limit": _count("limit"),
    "preprocess": _text("preprocess"),
    "observer": _plain_text("observer"),
    "shapes": parse_shapes,
    "bind": _option_texts,
    "budget": parse_budget,
    "scheme": _choice("scheme", SchemeChoice),
    "float_nodes": _words,
    "only_ops": _words,
    "weight_block": _choice("weight_block", WeightBlock),
    "weights": _choice("weights", WeightMethod),
    "rounding": _choice("rounding", RoundingChoice),
    "max_drop": lambda value: None if value is None else _share("max_drop", value),
    "metric": _plain_text("metric"),
    "vocabulary": _plain_text("vocabulary"),
    "gate": _gate,
    "golden": _choice("golden", GoldenChoice),
    "golden_count": _count("golden_count"),
    "sketch": _words,
    "output": lambda value: None if value is None else Path(value),
    "archive": _switch("archive"),
    "overwrite": _switch("overwrite"),
    "cache": _plain_text("cache"),
    "trusted": _switch("trusted"),
    "options": _option_texts,
}
