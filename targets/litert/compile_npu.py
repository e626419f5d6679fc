"""`--option litert.aot=CHIP`: LiteRT compiles the file ahead of time, with the SDK of the chip's vendor."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit._values import Placement
from edgekit.errors import MissingToolError, TargetError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Chip:
    """One system on a chip as LiteRT names it, and whose SDK compiles for it."""

    name: str
    vendor: str
    title: str
    module: str
    package: str

    def target(self) -> Any:
        """LiteRT's own description of the chip."""
        described = import_module(f"ai_edge_litert.aot.vendors.{self.vendor}.target")
        return described.Target(described.SocModel(self.name))


def find_chip(name: str) -> Chip:
    """The chip whose SDK is installed; UsageError for an unknown one, MissingToolError without the SDK."""
    chips = _list_chips()
    if name not in chips:
        near = get_close_matches(name, chips, n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise UsageError(
            f"litert.aot names '{name}', which LiteRT does not compile for",
            fix=f"{hint}known: {', '.join(chips)}",
        )
    chip = chips[name]
    if find_spec(chip.module) is None:
        raise MissingToolError(
            f"{name} is compiled for with {chip.title}'s SDK, and that is not installed",
            fix=f"pip install {chip.package}, or leave out the option litert.aot",
        )
    return chip


def compile_ahead(path: Path, chip: Chip) -> tuple[str, tuple[Any, ...]]:
    """(name of the compiled file beside `path`, LiteRT's SubgraphPartitionStats: what went to the NPU).

    TargetError where the vendor's compiler fails. The compiled file cannot be run on this host.
    """
    from ai_edge_litert.aot.aot_compile import aot_compile

    folder = path.parent
    try:
        result = aot_compile(str(path), output_dir=str(folder), target=chip.target(), keep_going=False)
        (_, model), *_ = result.models_with_backend
        name = f"{path.stem}.{chip.name}.tflite"
        model.save(folder / name, export_only=True)
    except Exception as error:
        raise TargetError(
            f"{chip.title}'s compiler does not compile {path.name} for {chip.name}: {str(error)[:300]}",
            fix="leave out the option litert.aot, or give the model another precision",
        ) from error
    stats = model.partition_stats
    return name, () if stats is None else tuple(stats.subgraph_stats)


def partition_words(chip: str, rows: Sequence[Any]) -> str:
    """LiteRT's SubgraphPartitionStats in one sentence."""
    if not rows:
        return f"compiled ahead of time for {chip}: its compiler told no partitions; never run here"
    offloaded = sum(row.num_ops_offloaded for row in rows)
    total = sum(row.num_total_ops for row in rows)
    parts = sum(row.num_partitions_offloaded for row in rows)
    return (
        f"compiled ahead of time for {chip}: {offloaded} of {total} operators go to the NPU, in {parts} "
        "partitions; never run here"
    )


def partition_placements(chip: str, rows: Sequence[Any]) -> tuple[Placement, ...]:
    """The same by unit; () where the compiler told none."""
    if not rows:
        return ()
    offloaded = sum(row.num_ops_offloaded for row in rows)
    left = sum(row.num_total_ops for row in rows) - offloaded
    why = "placed by LiteRT's compiler on this host, in a file that never ran here"
    unit, why_left = f"CPU or GPU beside {chip}", "the compiler left them, and told no reason"
    kept = Placement(unit, left, why_left, fallback=True)
    return (Placement(f"NPU of {chip}", offloaded, why), *((kept,) if left else ()))


@cache
def load_sdks() -> dict[str, dict[str, str]]:
    """Each vendor's row of npu_sdks.toml."""
    table = tomllib.loads((Path(__file__).parent / "npu_sdks.toml").read_text(encoding="utf-8"))
    return {str(vendor): dict(row) for vendor, row in table.items()}


@cache
def _list_chips() -> dict[str, Chip]:
    """Every chip in LiteRT's own lists; none where this LiteRT has no compiler."""
    found: dict[str, Chip] = {}
    for vendor, row in load_sdks().items():
        try:
            models = import_module(f"ai_edge_litert.aot.vendors.{vendor}.target").SocModel
        except ImportError:
            continue
        names = [model.value for model in models if model.value != "ALL"]
        found |= {name: Chip(name, vendor, row["title"], row["module"], row["package"]) for name in names}
    return found
