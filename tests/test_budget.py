"""Budgets: units, refusals, and verdicts that say unknown where nobody knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from edgekit._budget import Limit, format_quantity, judge_budget, parse_budget
from edgekit._recipe_file import read_limits
from edgekit._results import Kind, Measurement
from edgekit.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "metric", "value", "unit"),
    [
        ("latency=50ms", "latency", 50.0, "ms"),
        ("latency=0.05s", "latency", 50.0, "ms"),
        ("latency=500us", "latency", 0.5, "ms"),
        ("latency=2500ns", "latency", 0.0025, "ms"),
        ("p90_latency=1e1ms", "p90_latency", 10.0, "ms"),
        ("p90-latency = 10 ms", "p90_latency", 10.0, "ms"),
        ("power=1500mW", "power", 1.5, "W"),
        ("power=15W", "power", 15.0, "W"),
        ("energy=5mJ", "energy", 5.0, "mJ"),
        ("energy=0.002J", "energy", 2.0, "mJ"),
        ("memory=2GB", "memory", 2e9, "B"),
        ("memory=2GiB", "memory", 2.0 * 2**30, "B"),
        ("size=20MB", "size", 20e6, "B"),
        ("size=512KiB", "size", 524288.0, "B"),
    ],
)
def test_every_unit_is_kept_in_its_metrics_own(text: str, metric: str, value: float, unit: str) -> None:
    limits = parse_budget(text)
    assert list(limits) == [metric]
    assert limits[metric].value == pytest.approx(value, rel=1e-12)
    assert limits[metric].unit == unit


def test_several_limits_keep_their_order() -> None:
    assert list(parse_budget("power=15W,latency=50ms")) == ["power", "latency"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("latency", "not NAME=LIMIT"),
        ("latency=", "not NAME=LIMIT"),
        ("=5ms", "not NAME=LIMIT"),
        ("latency=50", "units of latency: ns, us, ms, s"),
        ("latency=50MS", "is no unit of latency"),
        ("latency=50W", "is no unit of latency; use one of ns, us, ms, s"),
        ("latency=0ms", "positive"),
        ("latency=-5ms", "not a positive number"),
        ("latency=1e999s", "finite"),
        ("latency=nanms", "not a positive number"),
        ("latncy=5ms", "did you mean 'latency'"),
        ("latency=5ms,latency=6ms", "given twice"),
        ("latency=5ms,", "not NAME=LIMIT"),
    ],
)
def test_a_bad_budget_is_refused_with_a_way_out(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse_budget(text)


@pytest.mark.parametrize("text", ["20.5MB", "2GB", "1.5KB", "999B", "0.25ms", "15W", "2147483648B"])
def test_a_limit_is_printed_as_it_would_be_typed(text: str) -> None:
    metric = {"s": "latency", "W": "power"}.get(text[-1], "size")
    assert str(parse_budget(f"{metric}={text}")[metric]) == text


def measured(value: float | None, kind: Kind, interval: tuple[float, float] | None = None) -> Measurement:
    return Measurement("latency", value, "ms", kind, "a test", interval)


@pytest.mark.parametrize(
    ("figures", "status"),
    [
        ([], "unknown"),
        ([measured(None, "unknown")], "unknown"),
        ([measured(50.0, "measured")], "fits"),
        ([measured(50.1, "measured")], "does not fit"),
        ([measured(40.0, "predicted", (30.0, 49.0))], "fits"),
        ([measured(40.0, "predicted", (30.0, 60.0))], "unknown"),
        ([measured(70.0, "predicted", (60.0, 80.0))], "does not fit"),
        ([measured(70.0, "predicted", (60.0, 80.0)), measured(45.0, "measured")], "fits"),
        ([Measurement("power", 1.0, "W", "measured", "another metric")], "unknown"),
    ],
)
def test_a_verdict_says_only_what_the_figures_say(figures: list[Measurement], status: str) -> None:
    (verdict,) = judge_budget({"latency": Limit(50.0, "ms")}, figures)
    assert (verdict.status, verdict.limit, verdict.unit) == (status, 50.0, "ms")


def test_a_figure_in_another_unit_is_never_compared() -> None:
    with pytest.raises(ValueError, match="measured in s"):
        judge_budget({"latency": Limit(50.0, "ms")}, [Measurement("latency", 1.0, "s", "measured", "x")])


def test_quantities_are_short_and_exact() -> None:
    assert format_quantity(1 / 3, "ms") == "0.33333333333333331ms"
    assert format_quantity(1e9, "B") == "1GB"


@pytest.mark.parametrize(("value", "status"), [(12.0, "fits"), (10.0, "fits"), (9.9, "does not fit")])
def test_a_rate_is_kept_by_at_least_its_limit(value: float, status: str) -> None:
    figure = Measurement("tokens_per_s", value, "tokens/s", "measured", "by hand")
    (verdict,) = judge_budget(parse_budget("tokens_per_s=10tokens/s"), [figure])
    assert verdict.status == status


def test_a_predicted_rate_whose_interval_holds_the_limit_is_unknown() -> None:
    figure = Measurement("throughput", 12.0, "runs/s", "predicted", "by hand", (8.0, 20.0))
    (verdict,) = judge_budget(parse_budget("throughput=10runs/s"), [figure])
    assert verdict.status == "unknown"


def test_a_recipes_budget_counts_and_what_is_typed_takes_its_place(tmp_path: Path) -> None:
    recipe = tmp_path / "edgekit.toml"
    recipe.write_text('model = "m.onnx"\n[budget]\nlatency = "50ms"\npower = "5W"\n')
    limits = read_limits("latency=20ms", recipe)
    assert {name: limit.value for name, limit in limits.items()} == {"latency": 20.0, "power": 5.0}
    recipe.write_text("budget = 3\n")
    with pytest.raises(UsageError, match="no table"):
        read_limits(None, recipe)
