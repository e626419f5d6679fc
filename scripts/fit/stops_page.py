"""The part of docs/prediction.md that says of each miss where it stops and why."""

from __future__ import annotations

import math
from statistics import median
from typing import TYPE_CHECKING

from edgekit.profiles.loader import HERE, load_device
from scripts.fit.decode import repeats
from scripts.fit.markdown import COLUMNS, percent, score_words, write_table
from scripts.fit.score import score
from scripts.fit.stops import (
    ALIKE,
    alike_graphs,
    group_by,
    kind_of_network,
    list_points,
    other_runtime,
    rank_models,
    same_file,
    without_common,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scripts.fit.page import Results
    from scripts.fit.siblings import Pair
    from scripts.fit.stops import Point

SHOWN = 10  # models that are named


def describe_stops(results: Results) -> str:
    """Of each number that is missed: what it is made of, and what no fit could take from it."""
    return "\n\n".join(
        ("## Where the misses stop", _models(results), _floor(results), _whose(results), _siblings(results),
         _decode(results))
    )  # fmt: skip


def _models(results: Results) -> str:
    points = list_points(results.cells)
    rows = [
        ("nothing more: the numbers above", [point.error for point in points]),
        ("the model's cost, alike on all devices and runtimes",
         without_common(points, lambda point: (point.graph, point.precision))),
        ("... under each runtime",
         without_common(points, lambda point: (point.graph, point.precision, point.runtime))),
    ]  # fmt: skip
    half = score(
        [error for family in results.halves for cell in family.cells for error in cell.held.values()]
    )
    return (
        "### Models held out\n\nWhat would be left of the errors if more were known of the held-out model beforehand. This "
        "is no prediction: its own median error over devices is taken out, which a measurement on one of them tells. What "
        "the second line takes away is the network's own, alike on all devices: how Qualcomm's compiler fuses, tiles and "
        "lays out this graph, which sums over its nodes do not see (or a graph that is drawn here otherwise than the one that was measured). Public tables have no times of layers from which that "
        "could be learnt; predictors that are nearer (nn-Meter) rest on tens of thousands of kernels timed on the device. "
        "What it leaves is of the device and the runtime.\n\n"
        + _score_table("if this were known", rows)
        + f"\n\nWith half as many networks (even and odd places of the list, models held out in "
        f"turn as well) the same fits have a median error of {percent(half.error)} and {percent(half.within_30)} within 30 %."
    )


def _floor(results: Results) -> str:
    pairs, alike = alike_graphs(results.graphs, results.known)
    names = "; ".join(f"{_name(one)} and {_name(other)}" for one, other in pairs)
    rows = [
        ("one compiled network, loaded by QNN and by ONNX Runtime", same_file(results.rows)),
        (f"two networks that no count tells apart (all terms within {100 * ALIKE:.0f} %): {names}", alike),
    ]
    for precision in ("fp16", "int8"):
        for both in (("litert", "qnn"), ("litert", "onnxruntime"), ("qnn", "onnxruntime")):
            found = other_runtime(results.graphs, results.known, both, precision)
            rows.append((f"one network in {precision} under {both[0]} and {both[1]}", found))
    return (
        "### The table's own floor\n\nHow far two figures of the table differ that counts of a graph can't tell apart, on "
        "one device. The first lines are noise of single jobs; the others are what three runtimes make of one network on "
        "one NPU by one vendor's compiler (the device's median ratio is taken out, as a fit does).\n\n"
        + _score_table("two figures of", rows)
    )


def _whose(results: Results) -> str:
    points = list_points(results.cells)
    kinds = group_by(
        points, lambda point: f"{point.precision}, {kind_of_network(results.graphs[point.graph])}"
    )
    runtimes = group_by(points, lambda point: f"{point.precision}, {point.runtime}")
    ranked = rank_models(points)
    far = sum(point.far for point in points)
    rows, seen = [], 0
    for model, own in ranked[:SHOWN]:
        seen += sum(point.far for point in own)
        middle = math.exp(median(point.error for point in own))
        rows.append(
            [
                model,
                str(len(own)),
                str(sum(point.far for point in own)),
                f"{middle:.2f}x",
                percent(seen / far),
            ]
        )
    names = {model for model, _ in ranked[:SHOWN]}
    rest = score([point.error for point in points if point.graph[0] not in names])
    return (
        "### Whose errors they are\n\nThe share of the predictions, and of those that are off by more than 30 %.\n\n"
        + write_table(("networks", "of all", "of those beyond 30 %", *COLUMNS[:4]), _shares(kinds, points))
        + "\n\n"
        + write_table(("runtime", "of all", "of those beyond 30 %", *COLUMNS[:4]), _shares(runtimes, points))
        + f"\n\nThe {SHOWN} models with the most of them:\n\n"
        + write_table(("model", "points", "beyond 30 %", "predicted over measured, median", "added up"), rows)
        + f"\n\nThe other {len(ranked) - SHOWN} models have a median error of {percent(rest.error)} and "
        f"{percent(rest.within_30)} within 30 %. That is no claim, for they were chosen by their errors."
    )


def _shares(groups: dict[str, list[Point]], points: Sequence[Point]) -> list[list[str]]:
    far = sum(point.far for point in points)
    return [
        [
            name, percent(len(own) / len(points)), percent(sum(point.far for point in own) / far),
            *score_words(score([point.error for point in own]))[:4],
        ]
        for name, own in groups.items()
    ]  # fmt: skip


def _siblings(results: Results) -> str:
    names = {cell.device for cell in results.cells}
    facts = {name: load_device(HERE / "devices" / f"{name}.toml").facts for name in names}
    groups: dict[str, list[Pair]] = {}
    for pair in results.pairs:
        if pair.source < pair.target:
            kind = _relation(facts[pair.source].get("htp_arch"), facts[pair.target].get("htp_arch"))
            groups.setdefault(f"{kind}, {pair.precision}", []).append(pair)
    rows = [_pairs_row(name, groups[name]) for name in sorted(groups)]
    return (
        "### Siblings\n\nPairs of devices by whether their NPUs are of one Hexagon generation, as far as it is published. "
        "The last columns are the best and the worst pair. A generation alone does not make a near sibling: within one, "
        "clocks, memory and the number of NPUs differ, and so does the share of a network's time that each of them takes. "
        "What `estimate` says of a pair is that pair's own interval.\n\n"
        + write_table(("NPUs", "pairs", *COLUMNS[:4], "pairs within 6 %", "best pair", "worst pair"), rows)
    )


def _relation(one: str | None, other: str | None) -> str:
    if one is None or other is None:
        return "a generation not published"
    return "one generation" if one == other else "two generations"


def _pairs_row(name: str, pairs: Sequence[Pair]) -> list[str]:
    ranked = sorted(pairs, key=lambda pair: score(pair.errors).error)
    near = sum(score(pair.errors).error <= 0.06 for pair in pairs)
    ends = [
        f"{pair.source}, {pair.target}: {percent(score(pair.errors).error)}"
        for pair in (ranked[0], ranked[-1])
    ]
    every = score([error for pair in pairs for error in pair.errors])
    return [name, str(len(pairs)), *score_words(every)[:4], str(near), *ends]


def _decode(results: Results) -> str:
    rows = [
        [row.device, row.precision, model, f"{math.exp(-error):.2f}x"]
        for row in results.decode
        if row.device
        for model, error in zip(row.models, row.errors, strict=True)
        if abs(math.exp(error) - 1) > 0.25
    ]
    spread = repeats(results.tokens)
    said = (
        f"{len(spread)} models have several figures on one device in one precision; the fastest is a median of "
        f"{percent(math.exp(median(spread)) - 1)} faster than the slowest, {percent(math.exp(max(spread)) - 1)} at most."
        if spread
        else "No model has two figures on one device in one precision, so their noise is not known."
    )
    least = min(len(row.errors) for row in results.decode if row.device)
    return (
        "### Decoding\n\nThe steps that are off by more than 25 %, each predicted from the other models of its device, of "
        f"which there are as few as {least - 1}. {said}\n\n"
        + write_table(("device", "precision", "model", "tokens/s predicted over measured"), rows)
    )


def _name(graph: tuple[str, str]) -> str:
    return "/".join(filter(None, graph))


def _score_table(head: str, rows: Sequence[tuple[str, Sequence[float]]]) -> str:
    lines = [[words, *score_words(score(errors))[:4]] for words, errors in rows if errors]
    return write_table((head, "points", "median", *COLUMNS[2:4]), lines)
