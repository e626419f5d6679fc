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
    """Inputs and fp32 outputs of a component.

    Of the recipe's samples where it names some, else of the calibration data where the bundle holds
    sketches of them, else of its golden data. UsageError where those are random, or where no artifact here
    could run the samples.
    """
    if recipe.samples is not None:
        expected = open_expected(component, bundle, recipe, targets=targets, progress=progress)
        return _describe(_sketch(expected), f"samples of '{recipe.samples}'")
    row = next(one for one in bundle.manifest["components"] if one["name"] == component)
    if "sketches" in row:
        return _describe(_read_sealed(row, bundle), "samples that it was calibrated on, as the bundle says")
    golden = bundle.golden(component)
    if golden.kind == "random":
        raise UsageError(
            f"the bundle holds no sketches of what component '{component}' was calibrated on, and its golden "
            "data are random numbers: nothing can drift from them",
            fix="add --baseline DATA, with the samples that the model was calibrated on",
        )
    sketches = _sketch(golden.samples)
    note = (
        f"{component}: the bundle holds no sketches of calibration data, so the baseline is its "
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
    inputs, outputs = ([one["name"] for one in row[side]] for side in ("inputs", "outputs"))
    try:
        return read_data_sketches(read_json(bundle.folder / row["sketches"], _MOST_BYTES), inputs, outputs)
    except ValueError as error:
        raise BundleError(
            f"bundle file '{row['sketches']}': {error}",
            fix="convert again, or give --baseline DATA",
        ) from error
