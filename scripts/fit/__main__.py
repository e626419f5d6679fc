"""python -m scripts.fit TABLES: writes profiles/fits/*.toml and docs/prediction.md from the tables there."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from itertools import permutations
from pathlib import Path
from statistics import median

from edgekit.profiles.loader import HERE, load_device
from scripts.fit.tables import YOLO, npu_latencies, read_rows, yolo_latencies

ROOT = Path(__file__).parents[2]
LEAST_POINTS = 20
AIHUB = "github.com/qualcomm/ai-hub-models v0.47.0 perf.yaml (BSD-3-Clause), tflite, all layers on the NPU"
JETSON = "Ultralytics NVIDIA Jetson guide, YOLO11 at 640 pixels, TensorRT fp16 and int8"


def quantile(values: list[float], share: float) -> float:
    """Linear between order statistics."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def band(ratios: list[float], tail: float) -> tuple[float, float, float]:
    """The quantiles `tail`, 50 % and 1 - `tail`."""
    return quantile(ratios, tail), quantile(ratios, 0.5), quantile(ratios, 1 - tail)


def leave_one_out(groups: list[list[float]], tail: float) -> tuple[list[float], float, float]:
    """Errors of the median and coverage and width of the band; each group is held out in turn, whole."""
    errors: list[float] = []
    widths: list[float] = []
    inside = 0
    for index, held in enumerate(groups):
        low, mid, high = band(
            [r for other, group in enumerate(groups) if other != index for r in group], tail
        )
        errors += [abs(mid / ratio - 1) for ratio in held]
        inside += sum(low <= ratio <= high for ratio in held)
        widths.append(high / low)
    return errors, inside / len(errors), median(widths)


def fit_siblings(folder: Path) -> list[dict[str, object]]:
    """One row a device pair and precision: the scale, its band and its leave-one-model-out error."""
    known = npu_latencies(read_rows(folder / "aihub_perf.csv"))
    rows: list[dict[str, object]] = []
    for (source, precision), (target, other) in permutations(sorted(known), 2):
        if precision != other:
            continue
        mine, theirs = known[source, precision], known[target, precision]
        groups: dict[str, list[float]] = {}
        for key in sorted(mine.keys() & theirs.keys()):
            groups.setdefault(key[0], []).append(theirs[key] / mine[key])
        ratios = [ratio for group in groups.values() for ratio in group]
        if len(groups) >= LEAST_POINTS:
            rows.append({"from": source, "to": target, "precision": precision} | _fit(ratios, groups, 0.1))
    return rows


def _fit(ratios: list[float], groups: dict[str, list[float]], tail: float) -> dict[str, object]:
    low, mid, high = band(ratios, tail)
    errors, coverage, width = leave_one_out(list(groups.values()), tail)
    return {"low": low, "scale": mid, "high": high, "points": len(ratios), "error": median(errors),
            "coverage": coverage, "width": width}  # fmt: skip


def fit_jetson(folder: Path) -> dict[str, object]:
    """How many times the roofline (MACs and weights) a Jetson takes; each YOLO size is held out in turn."""
    groups: dict[str, list[float]] = {}
    for model, name, precision, ms in yolo_latencies(read_rows(folder / "measured.csv")):
        figures = load_device(HERE / "devices" / f"{name}.toml").figures
        macs, params = YOLO[model]
        peak = figures["int8_dense" if precision == "int8" else "fp16_dense"].value
        moved = params * (1 if precision == "int8" else 2) / figures["dram_bandwidth"].value
        groups.setdefault(model, []).append(ms / max(2 * macs / peak, moved))
    # Five sizes are too few for quantiles: the 10 to 90 % band of four held too few points of the fifth.
    fit = _fit([ratio for group in groups.values() for ratio in group], groups, 0.0)
    return fit | {"least_gmacs": min(macs for macs, _ in YOLO.values())}


def _toml(row: dict[str, object]) -> str:
    def word(value: object) -> str:
        return f"{value:.4g}" if isinstance(value, float) else repr(value).replace("'", '"')

    return "\n".join(f"{name} = {word(value)}" for name, value in row.items())


def _percent(value: object) -> str:
    return f"{100 * float(str(value)):.1f} %"


def write(folder: Path) -> None:
    """The two fits and the page that says how far they can be trusted."""
    day = datetime.now(UTC).date().isoformat()
    siblings, jetson = fit_siblings(folder), fit_jetson(folder)
    fits = HERE / "fits"
    head = f'# Written by scripts/fit; do not edit.\nfitted = "{day}"\n'
    body = "\n\n".join(f"[[pair]]\n{_toml(row)}" for row in siblings)
    (fits / "siblings.toml").write_text(f'{head}source = "{AIHUB}"\n\n{body}\n', encoding="utf-8")
    (fits / "tensorrt.toml").write_text(f'{head}source = "{JETSON}"\n{_toml(jetson)}\n', encoding="utf-8")
    (ROOT / "docs" / "prediction.md").write_text(_page(siblings, jetson, day), encoding="utf-8")


def _page(siblings: list[dict[str, object]], jetson: dict[str, object], day: str) -> str:
    lines = [
        "# How far predictions can be trusted", "",
        f"Written by `python -m scripts.fit TABLES` on {day}; no figure here is typed by hand. Every model is",  # noqa: E501 - a row of the page
        "held out in turn, and the band of the others is tried on it.", "",
        "## Sibling transfer", "", f"Source: {AIHUB}. One scale a pair: the median ratio; band: the 10 and 90 % quantiles.", "",  # noqa: E501 - a row of the page
        "| from | to | precision | points | median error | band covers | band width |", "|---|---|---|---|---|---|---|",  # noqa: E501 - a row of the page
        *(f"| {r['from']} | {r['to']} | {r['precision']} | {r['points']} | {_percent(r['error'])} | "
          f"{_percent(r['coverage'])} | {r['width']:.2f}x |" for r in siblings),
        "", "## Spec sheet, Jetsons", "", f"Source: {JETSON}. One size at a time is held out on all devices; the band is the whole range of the other four. MACs and parameters are the published ones; activations are not counted.", "",  # noqa: E501 - a row of the page
        "| points | measured over roofline (least, median, most) | median error | band covers | band width |", "|---|---|---|---|---|",  # noqa: E501 - a row of the page
        f"| {jetson['points']} | {jetson['low']:.1f}x, {jetson['scale']:.1f}x, {jetson['high']:.1f}x | "
        f"{_percent(jetson['error'])} | {_percent(jetson['coverage'])} | {jetson['width']:.2f}x |",
        "", "This family is one network in five sizes: other networks on Jetsons are not checked here.", "",
        "## Not validated", "",
        "- The spec-sheet band of every other device (1 to 7.5 times the roofline) is a rule, not fitted here.",  # noqa: E501 - a row of the page
        "- There is no family fit from per-node costs, and no comparison with MACs alone: the graphs are missing.",  # noqa: E501 - a row of the page
        "- Memory and power are upper or lower bounds of what is known, not fitted.",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    write(Path(sys.argv[1]))
