"""The parts of docs/prediction.md on language models: decoding, prompts, and a whole request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scripts.fit.markdown import COLUMNS, percent, score_words, write_table
from scripts.fit.score import score

if TYPE_CHECKING:
    from scripts.fit.page import Results


def describe_decode(results: Results) -> str:
    """The time of one token, and how far it is off."""
    rows = [
        [
            row.family, row.device or "any", row.precision, f"{1e3 * row.layer_ms:.2g} us", percent(row.share),
            *score_words(score(row.errors))[:2],
        ]
        for row in results.decode
    ]  # fmt: skip
    return (
        "## Decoding a token\n\nA time a layer, and weights read at a share of the memory bandwidth; each model is "
        "held out in turn. Sources: AI Hub's Genie runs (w4, w4a16), NVIDIA's and community tables of compiled "
        "engines (TensorRT Edge-LLM, MLC, Core ML). The aim was 25 %.\n\n"
        + write_table(
            ("family", "device", "precision", "a layer", "share of bandwidth", "points", "median error"), rows
        )
    )


def describe_prefill(results: Results) -> str:
    """The time of a prompt, and how far it is off."""
    rows = [
        [
            row.family, row.device, row.precision, f"{1e3 * row.layer_ms:.2g} us", f"{row.gmac_ms:.2g} ms",
            *score_words(score(row.errors))[:4],
        ]
        for row in results.prefill
    ]  # fmt: skip
    return (
        "## Prompts\n\nA time a layer and one a G MAC, one shape a family and one factor a device; each model is held out "
        "on all devices, and errors are those of the family. Sources: AI Hub's least times to first token (128 tokens "
        "beside a cache of 4,096) and TensorRT Edge-LLM's tables. Prompts on other devices, and in other precisions, are "
        "predicted as any model is.\n\n"
        + write_table(("family", "device", "precision", "a layer", "a G MAC", *COLUMNS[:4]), rows)
    )


def describe_case(results: Results) -> str:
    """One public run of a vision-language model beside its estimate."""
    rows = []
    for case in results.case:
        value, ends = case.predicted.value, case.predicted.interval
        if value is None or ends is None:
            continue
        factor = 1e-6 if case.predicted.unit == "B" else 1.0
        told = f"{factor * ends[0]:.4g} to {factor * ends[1]:.4g}"
        words = case.name.replace("_", " "), f"{case.measured:.4g} {case.unit}"
        rows.append(
            [*words, f"{factor * value:.4g}", told, f"{100 * (factor * value / case.measured - 1):+.1f} %"]
        )
    return (
        "## A whole vision-language model\n\nCosmos-Reason2-2B (a Qwen3-VL-2B) under TensorRT Edge-LLM on Jetson Orin Nano "
        "Super, one picture of 494 tokens, measured by others (github hokwangchoi/jetson-orin-nano-benchmarks). None of "
        "its rows is in any fit. The graphs are drawn from the published configuration (`scripts/fit/drawn_vlm.py`) and "
        "predicted by `edgekit estimate FOLDER --precision w4,vision=fp16,embedding=fp16`. The aim was 25 %. The "
        "measured memory is the board's whole use, 519 MB of it before the run began (their tegrastats log); the "
        "predicted one is the process's.\n\n"
        + write_table(("figure", "measured", "predicted", "interval", "off by"), rows)
    )
