"""What a bundle's model saw and gave before it left, sketched: calibration data, golden data or samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit._strict_json import read_json
from edgekit._verify_samples import open_expected
from edgekit.calibration.data_sketches import DataSketches, read_data_sketches
from edgekit.errors import BundleError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from edgekit._bundle import Bundle
    from edgekit._recipe import Recipe
    from edgekit._values import Progress
    from edgekit._verify import GoldenSample
    from edgekit.target import Target

_MOST_BYTES = 64 << 20  # some 10,000 tensors
# Fewer samples than this are told: their own spread is taken for the data's.
_FEW = 30


@dataclass(frozen=True)
class Baseline:
    """basis: of which samples the sketches are. note: what a user must know of them; "" for nothing."""

    sketches: DataSketches
    basis: str
    note: str = ""


def sketch_baseline(
    component: str, bundle: Bundle, recipe: Recipe, *, targets: Mapping[str, Target], progress: Progress
) -> Baseline:
    """Inputs, fp32 outputs and sketched inner values of a component.

    Of the recipe's samples where it names some (inner values the bundle's own even then), else of those that
    the bundle was made with where it holds sketches of them, else of its golden data. UsageError where those
    are random, or where no artifact here could run the samples.
    """
    row = next(one for one in bundle.manifest["components"] if one["name"] == component)
    sealed = _read_sealed(row, bundle) if "sketches" in row else None
    if recipe.samples is not None:
        expected = open_expected(component, bundle, recipe, targets=targets, progress=progress)
        sketches = _sketch(expected)
        if sealed is not None:
            sketches.inner, sketches.rounding = sealed.inner, sealed.rounding
        return _describe(sketches, f"samples of '{recipe.samples}'")
    if sealed is not None:
        return _describe(sealed, "samples that it was made with, as the bundle says")
    golden = bundle.golden(component)
    if golden.kind == "random":
        raise UsageError(
            f"the bundle holds no sketches of what component '{component}' was made with, and its golden "
            "data are random numbers: nothing can drift from them",
            fix="add --baseline DATA, with the samples that the model is meant for",
        )
    sketches = _sketch(golden.samples)
    note = (
        f"{component}: the bundle holds no sketches of what it was made with, so the baseline is its "
        f"{sketches.samples} golden samples; better give all that the model was made with, by --baseline DATA"
    )
    return Baseline(sketches, f"{sketches.samples} golden samples", note)


def _describe(sketches: DataSketches, what: str) -> Baseline:
    basis = f"{sketches.samples} {what}"
    few = f"the baseline is {basis}: fewer than {_FEW} stand for little; give more, by --baseline DATA"
    return Baseline(sketches, basis, few if sketches.samples < _FEW else "")


def _sketch(samples: Iterable[GoldenSample]) -> DataSketches:
    sketches = DataSketches()
    for sample in samples:
        sketches.add(sample.feeds, sample.fp32)
    return sketches


def _read_sealed(row: Mapping[str, Any], bundle: Bundle) -> DataSketches:
    known = {side: [one["name"] for one in row[side]] for side in ("inputs", "outputs")}
    known["inner"] = row.get("inner", [])
    try:
        return read_data_sketches(read_json(bundle.folder / row["sketches"], _MOST_BYTES), known)
    except ValueError as error:
        raise BundleError(
            f"bundle file '{row['sketches']}': {error}",
            fix="convert again, or give --baseline DATA",
        ) from error
