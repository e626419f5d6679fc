"""The pages of docs/arr-coc-0-1: goals, what the allocator buys, and every figure with its interval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from examples.arr_coc_0_1.report_figures import (
    above,
    below,
    measure,
    short,
    show,
    show_drain,
    show_figure,
    show_pair,
    show_step,
    table,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from edgekit._estimate import Estimate
    from edgekit._results import Measurement
    from examples.arr_coc_0_1.configuration import ArrCocConfig

GOAL_MS, GOAL_POWER_W, GOAL_TOKENS = 50.0, 30.0, 10.0
SHOWN = (512, 200, "w4")  # the published size and K, in the precision that a phone holds
COMMAND = "python -m examples.arr_coc_0_1.report -o docs/arr-coc-0-1"


@dataclass(frozen=True)
class Case:
    """One image size, K and precision, estimated on every device."""

    config: ArrCocConfig
    precision: str
    estimate: Estimate

    @property
    def chosen(self) -> str:
        config = self.config
        if not config.selects:
            return f"all {config.merged} (no selection)"
        return f"{config.kept} of {config.merged}"


@dataclass(frozen=True)
class CheckRow:
    """A prediction beside what others measured, in its unit."""

    name: str
    predicted: Measurement
    measured: float


_INTRODUCTION = f"""# arr-coc-0-1 on devices

Written by `{COMMAND}`. **Every figure is predicted** from the exported graphs, with its 80 %
interval in brackets, or unknown; no device ran the model. What figures rest on:
[prediction](../prediction.md). The model:
[examples/arr_coc_0_1](../../examples/arr_coc_0_1/README.md), full size, without weights: nothing
here is about accuracy.

Every case: [224 pixels](224.md), [512 pixels](512.md), [1024 pixels](1024.md). A request is one
image, 64 text tokens and an answer of 64. `w4` is int4 weights in the language model and fp16 in
vision and scorers.
"""
_VERDICTS = """yes, no: the whole interval says so; likely, unlikely: the figure does, and its interval
reaches across the goal. Power that begins at 0 is the board's upper limit, no expectation: in a
lower power mode the board may keep the goal and be slower. The stated 5-30 W are judged by their
upper end.
"""
_CHANGE = """The allocator chooses behind the vision tower, which so computes every token: where
vision alone takes more than 50 ms, no K helps. It would take a smaller image, a choice before the
tower (patches dropped in the first layers), or a smaller tower; prefill falls with K and with text.
"""
_PUBLIC = """Measured by others (github hokwangchoi/jetson-orin-nano-benchmarks): TensorRT Edge-LLM,
W4A16, 494 image tokens, a prompt of 512. Ours is a 704x704 image (484 tokens) without selection, on
the same kind of model. The measured memory is the board's peak of 4.34 GB less the 0.52 GB in use
before the run began (their tegrastats log); the predicted one is the process's.
"""
TEXTS = (_INTRODUCTION, _VERDICTS, _CHANGE, _PUBLIC)


def render_index(cases: Sequence[Case], check: Sequence[CheckRow]) -> str:
    """The first page."""
    return "\n".join([_INTRODUCTION, *_goals(cases), *_changes(cases), *_allocator(cases), *_check(check)])


def render_image(cases: Sequence[Case]) -> str:
    """All figures of one image size."""
    config = cases[0].config
    rows = [
        [
            device.title,
            case.chosen,
            case.precision,
            *(show_step(device, name) for name in ("arr", "vision", "prefill", "decode")),
            *(
                show_figure(device, name)
                for name in ("time_to_first_token", "tokens_per_s", "sustained_tokens_per_s")
            ),
            *(show_figure(device, name) for name in ("memory", "power", "energy")),
            show_drain(device),
        ]
        for case in cases
        for device in sorted(case.estimate.devices, key=lambda one: one.title)
    ]
    rows.sort(key=lambda row: row[0])
    head = [
        "device",
        "visual tokens",
        "precision",
        "arr",
        "vision",
        "prefill",
        "a decode step",
        "to first token",
    ]
    head += ["tokens/s", "tokens/s when hot", "memory", "power", "energy an answer", "battery an hour"]
    bases = _bases(cases)
    return "\n".join(
        [
            f"# arr-coc-0-1 at {config.pixels}x{config.pixels}: {config.merged} merged tokens",
            "",
            "Predicted, each with its 80 % interval; unknown where nothing is published.",
            f"Written by `{COMMAND}`.",
            "",
            *table(head, rows),
            "",
            "What the figures rest on:",
            "",
            *(f"- {basis}" for basis in bases),
            "",
        ]
    )


def _goals(cases: Sequence[Case]) -> list[str]:
    case = _find(cases, *SHOWN)
    rows = []
    for device in case.estimate.devices:
        first, power = measure(device, "time_to_first_token"), measure(device, "power")
        speed = measure(device, "tokens_per_s")
        rows.append(
            [
                device.title,
                show_figure(device, "time_to_first_token"),
                below(first, GOAL_MS),
                show_figure(device, "power"),
                below(power, GOAL_POWER_W),
                show_figure(device, "tokens_per_s"),
                above(speed, GOAL_TOKENS),
                show_figure(device, "memory"),
            ]
        )
    head = ["device", "to first token", "< 50 ms", "power", "< 30 W", "tokens/s", ">= 10 tokens/s", "memory"]
    pixels, keep, precision = SHOWN
    return [
        f"## The stated goals at {pixels}x{pixels}, K = {keep}, {precision}",
        "",
        *table(head, rows),
        "",
        _VERDICTS,
    ]


def _changes(cases: Sequence[Case]) -> list[str]:
    """Which component alone breaks 50 ms, and what is left at the smallest image."""
    rows = []
    shown, small = _find(cases, *SHOWN), _find(cases, 224, 49, "w4")
    tiny = {device.device: device for device in small.estimate.devices}
    for device in shown.estimate.devices:
        first = measure(device, "time_to_first_token")
        times = "unknown" if first is None or first.value is None else f"{first.value / GOAL_MS:.1f}x"
        rows.append(
            [
                device.title,
                times,
                *(show_step(device, name) for name in ("arr", "vision", "prefill")),
                show_figure(tiny[device.device], "time_to_first_token"),
            ]
        )
    head = ["device", "of 50 ms", "arr", "vision", "prefill", "at 224x224 without selection"]
    return [
        "## What would have to change for 50 ms",
        "",
        *table(head, rows),
        "",
        _CHANGE,
    ]


def _allocator(cases: Sequence[Case]) -> list[str]:
    rows = []
    for pixels, keep in ((512, 64), (512, 200), (1024, 200)):
        with_it = _find(cases, pixels, keep, "w4")
        without = _find(cases, pixels, with_it.config.merged, "w4")
        plain = {device.device: device for device in without.estimate.devices}
        for device in with_it.estimate.devices:
            other = plain[device.device]
            rows.append(
                [
                    f"{pixels}, {with_it.chosen}",
                    device.title,
                    show_step(device, "arr"),
                    *show_pair(device, other, "time_to_first_token"),
                    *show_pair(device, other, "tokens_per_s"),
                    *show_pair(device, other, "memory"),
                ]
            )
    head = [
        "image, tokens",
        "device",
        "arr costs",
        "first token",
        "without",
        "tokens/s",
        "without",
        "memory",
        "without",
    ]
    return ["## What the token allocator buys (w4)", "", *table(head, rows), ""]


def _check(check: Sequence[CheckRow]) -> list[str]:
    rows = []
    for row in check:
        value = row.predicted.value
        apart = "unknown" if value is None else f"{value / row.measured - 1:+.0%}"
        rows.append([row.name, short(row.measured, row.predicted.unit), show(row.predicted), apart])
    return [
        "## The check: Cosmos-Reason2-2B on Jetson Orin Nano Super",
        "",
        _PUBLIC,
        *table(["", "measured by others", "predicted", "deviation"], rows),
        "",
    ]


def _find(cases: Iterable[Case], pixels: int, keep: int, precision: str) -> Case:
    return next(
        case
        for case in cases
        if (case.config.pixels, case.config.kept, case.precision) == (pixels, keep, precision)
    )


def _bases(cases: Sequence[Case]) -> list[str]:
    found = {
        figure.basis
        for case in cases
        for device in case.estimate.devices
        for figure in (*device.figures, *(step.latency for step in device.steps))
    }
    return sorted(found)
