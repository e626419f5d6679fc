"""A drift as a report of Evidently, for teams that look at that already: the same numbers, its own page."""

from __future__ import annotations

import re
from importlib import import_module
from typing import TYPE_CHECKING, Any

from edgekit.errors import MissingToolError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgekit._field import DriftResult

# Evidently writes names into a script of its page as they are.
_UNSAFE = re.compile(r"[^A-Za-z0-9_./: -]")

#: By column, the numbers that stand for a tensor in the baseline and in the field.
Columns = dict[str, tuple["Sequence[float]", "Sequence[float]"]]


def list_columns(result: DriftResult) -> Columns:
    """Every tensor that has numbers on both sides; of outputs the field's are those that are judged.

    Names keep letters, digits and `_./: -`; what would be the same name twice is numbered.
    """
    columns: Columns = {}
    for one in result.tensors:
        if one.curves.baseline and one.curves.field:
            name = _UNSAFE.sub("_", f"{one.component} {one.side} {one.tensor}")
            while name in columns:
                name = f"{name} {len(columns)}"
            columns[name] = (one.curves.baseline, one.curves.counted or one.curves.field)
    return columns


def require_evidently() -> None:
    """MissingToolError where Evidently is not installed, or does not run with the pandas that is."""
    try:
        import_module("pandas")
        import_module("evidently.presets")
    except ImportError as error:
        raise MissingToolError(
            f"--evidently needs Evidently, which cannot be imported ({error})",
            fix='pip install "edgekit[evidently]", in an environment of its own: it needs pandas below 3',
        ) from error


def run_evidently(columns: Mapping[str, tuple[Sequence[float], Sequence[float]]], limit: float) -> Any:
    """Evidently's snapshot of the columns, by its normed Wasserstein distance; above `limit` it says drift.

    Raises as `require_evidently`.
    """
    require_evidently()
    import pandas as pd  # pyright: ignore[reportMissingImports]
    from evidently import DataDefinition, Dataset, Report  # pyright: ignore[reportMissingImports]
    from evidently.presets import DataDriftPreset  # pyright: ignore[reportMissingImports]

    definition = DataDefinition(numerical_columns=list(columns))
    baseline, field = (
        Dataset.from_pandas(
            pd.DataFrame({name: both[side] for name, both in columns.items()}), data_definition=definition
        )
        for side in (0, 1)
    )
    preset = DataDriftPreset(num_method="wasserstein", num_threshold=limit)
    return Report([preset]).run(current_data=field, reference_data=baseline)


def render_evidently(result: DriftResult) -> str:
    """Evidently's page, whole: its scripts are inside. Raises as `run_evidently`."""
    snapshot = run_evidently(list_columns(result), result.limits["wasserstein"].drift)
    return str(snapshot.get_html_str(as_iframe=False))
