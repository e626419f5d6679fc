"""The recipe: everything one convert needs, as a frozen value that Python, the CLI and a TOML file share."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypedDict, cast

from edgekit._budget import Limit, parse_budget
from edgekit._recipe_values import (
    Shape,
    choice_of,
    count_of,
    parse_shapes,
    plain_text_of,
    read_number,
    read_share,
    read_words,
    refuse_unknown,
    switch_of,
    text_of,
)
from edgekit._values import RoundingChoice
from edgekit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, Unpack

    from edgekit._values import DimRange, Precision

SchemeChoice = Literal["auto", "portable", "native"]
GoldenChoice = Literal["samples", "random"]
WeightBlock = Literal[0, 32, 64, 128]
PrecisionChoice = Literal["auto", "int8", "w8", "w4", "fp16", "fp32"]
# What `--precision auto` allows INT8 to lose where no --max-drop says it (issue 7).
AUTO_DROP = 0.005
WeightMethod = Literal["auto", "rtn", "hqq", "gptq"]
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


def _gate(given: Mapping[str, Any]) -> dict[str, float]:
    """Gate limits as numbers; a share (min_top1) may be 0.9 or "90%"."""
    refuse_unknown(given, GATE_LIMITS, "gate limit")
    return {name: _limit_number(name, value) for name, value in given.items()}


def _limit_number(name: str, value: object) -> float:
    if name == "min_top1":
        return read_share(name, value)
    return read_number(name, str(value).strip(), given=value)


def _option_texts(value: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(item) for name, item in value.items()}


def _precisions(value: str | Sequence[str]) -> tuple[str, ...]:
    return tuple(choice_of("precision", PrecisionChoice)(word) for word in read_words(value))


_READ: dict[str, Callable[[Any], Any]] = {
    "targets": read_words,
    "precisions": _precisions,
    "samples": text_of("samples"),
    "limit": count_of("limit"),
    "preprocess": text_of("preprocess"),
    "observer": plain_text_of("observer"),
    "shapes": parse_shapes,
    "bind": _option_texts,
    "budget": parse_budget,
    "scheme": choice_of("scheme", SchemeChoice),
    "float_nodes": read_words,
    "only_ops": read_words,
    "weight_block": choice_of("weight_block", WeightBlock),
    "weights": choice_of("weights", WeightMethod),
    "rounding": choice_of("rounding", RoundingChoice),
    "max_drop": lambda value: None if value is None else read_share("max_drop", value),
    "metric": plain_text_of("metric"),
    "vocabulary": plain_text_of("vocabulary"),
    "gate": _gate,
    "golden": choice_of("golden", GoldenChoice),
    "golden_count": count_of("golden_count"),
    "sketch": read_words,
    "output": lambda value: None if value is None else Path(value),
    "archive": switch_of("archive"),
    "overwrite": switch_of("overwrite"),
    "cache": plain_text_of("cache"),
    "trusted": switch_of("trusted"),
    "options": _option_texts,
}
