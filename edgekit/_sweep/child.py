"""The process of one job: a job as JSON on standard input, its row as JSON on standard output.

It ends with whoever started it: the end of standard input means that nobody waits for it any more.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit._sweep_values import SweepRow
from edgekit.errors import EdgekitError

if TYPE_CHECKING:
    from edgekit._results import BundleResult


def main() -> None:
    """Do the job, print its row."""
    told = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_watch, daemon=True).start()
    row = _convert(told)
    sys.stdout.write(json.dumps(asdict(row)) + "\n")
    sys.stdout.flush()


def _watch() -> None:
    """Behind the one line nothing comes but the end."""
    os.read(sys.stdin.fileno(), 1)
    os._exit(3)


def _quiet(stage: str, done: int, total: int | None) -> None:
    """Nobody looks at the progress of one job among many."""


def _convert(told: dict[str, Any]) -> SweepRow:
    from edgekit._convert import convert_recipe
    from edgekit._recipe_file import load_recipe

    name, target = str(told["name"]), str(told["target"])
    try:
        with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
            path = Path(folder) / "job.toml"
            path.write_text(told["recipe"], encoding="utf-8")
            recipe = load_recipe(
                path,
                trust="code" if told["trusted"] else "data",
                cache=told["cache"],
                overwrite=told["overwrite"],
            )
            (bundle,) = convert_recipe(recipe, _quiet).bundles
    except EdgekitError as error:
        return SweepRow(name, target, "refused", error=str(error))
    return _row(name, target, bundle)


def _row(name: str, target: str, bundle: BundleResult) -> SweepRow:
    first = bundle.artifacts[0]
    rates = [
        output.sqnr_db
        for parity in bundle.parities
        if parity.variant == first.variant
        for output in parity.against_fp32
    ]
    return SweepRow(
        name,
        target,
        "passed" if bundle.passed else "below gate",
        device=bundle.device.name,
        folder=str(bundle.folder),
        digest=bundle.digest,
        variants=tuple(dict.fromkeys(artifact.variant for artifact in bundle.artifacts)),
        size=sum((bundle.folder / item).stat().st_size for item in first.loaded),
        sqnr_db=min(rates, default=None),
    )


if __name__ == "__main__":
    main()
