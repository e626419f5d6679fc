"""The sketch: its ranks against exact ones, merged in any order, and every damaged form refused."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edgekit._monitor.device.sketch import Sketch, SketchError, read_sketch

if TYPE_CHECKING:
    from collections.abc import Callable

SHARES = np.linspace(0.001, 0.999, 999)
STREAMS: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "normal": lambda draw: draw.standard_normal(200_000),
    "sorted": lambda draw: np.sort(draw.exponential(size=200_000)),
    "heavy tailed": lambda draw: draw.standard_cauchy(200_000),
    "few numbers": lambda draw: draw.integers(0, 5, 200_000),
}


def worst_error(sketch: Sketch, values: np.ndarray) -> float:
    """The largest difference from the exact share of numbers <= a point, at the exact quantiles."""
    whole = np.sort(values.astype(np.float32))
    points = np.quantile(whole, SHARES, method="inverted_cdf")
    exact = np.searchsorted(whole, points, side="right") / len(whole)
    return float(np.abs(sketch.cdf(points) - exact).max())


def sketch_of(values: np.ndarray, *, seed: int, pieces: int = 1) -> Sketch:
    sketch = Sketch(seed=seed)
    for piece in np.array_split(values, pieces):
        sketch.update(piece)
    return sketch


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("pieces", [1, 500])
def test_ranks_lie_within_the_error_that_the_sketch_tells(name: str, pieces: int) -> None:
    values = STREAMS[name](np.random.default_rng(1))
    sketch = sketch_of(values, seed=2, pieces=pieces)
    assert worst_error(sketch, values) <= sketch.rank_error(0.01 / len(SHARES)) < 0.02
    assert len(sketch.weighted()[0]) < 1000
    assert (sketch.least, sketch.most) == tuple(
        float(np.float32(one)) for one in (values.min(), values.max())
    )


def test_merged_in_any_order_it_keeps_the_bound_over_all_numbers() -> None:
    draw = np.random.default_rng(5)
    parts = [draw.normal(shift, 1, size) for shift, size in ((0, 50_000), (3, 20), (-2, 9_000), (9, 70_000))]
    a, b, c, d = parts
    together = np.concatenate(parts)
    left, right = sketch_of(a, seed=1), sketch_of(d, seed=4)
    for part, seed in ((b, 2), (c, 3), (d, 4)):
        left.merge(sketch_of(part, seed=seed))
    inner = sketch_of(c, seed=3)
    inner.merge(right)
    other = sketch_of(b, seed=2)
    other.merge(inner)
    first = sketch_of(a, seed=1)
    first.merge(other)
    for merged in (left, first):
        assert merged.count == len(together)
        assert worst_error(merged, together) <= merged.rank_error(0.01 / len(SHARES)) < 0.03
    assert left.quantile(0.5) == pytest.approx(np.median(together), abs=0.3)


def test_few_numbers_are_kept_as_they_are() -> None:
    sketch = Sketch()
    sketch.update([[3.0, 1.0], [2.0, np.nan]])
    sketch.update(np.array([np.inf, 1e300]))
    assert (sketch.count, sketch.nonfinite, sketch.rank_error()) == (3, 3, 0.0)
    assert [sketch.quantile(share) for share in (0, 0.3, 0.5, 1)] == [1, 1, 2, 3]
    assert sketch.cdf([0, 1, 2.5, 3]).tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1])


def test_its_json_form_is_compact_and_reads_back_the_same() -> None:
    sketch = sketch_of(np.random.default_rng(0).standard_normal(1_000_000), seed=0)
    text = json.dumps(sketch.to_json())
    back = read_sketch(json.loads(text))
    assert len(text) < 6000
    assert back.to_json() == sketch.to_json()
    assert back.cdf(SHARES).tolist() == sketch.cdf(SHARES).tolist()


def test_sketches_of_two_widths_are_not_merged() -> None:
    with pytest.raises(ValueError, match="width 64 and 256"):
        Sketch(64).merge(Sketch(256))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("count", 4),
        ("count", True),
        ("count", -1),
        ("count", 1 << 200),
        ("nonfinite", 0.5),
        ("squares", "0"),
        ("sizes", []),
        ("sizes", [3] * 63),
        ("sizes", [1 << 61]),
        ("sizes", [-3]),
        ("items", "AAAA"),
        ("items", "no base64!"),
        ("items", "AACAf wAAgD8AAABA"),
        ("items", "AACAfwAAgD8AAABA"),  # inf, 1, 2
        ("least", None),
        ("least", 2.5),
        ("most", 10**400),
        ("most", float("nan")),
        ("more", 1),
    ],
)
def test_a_form_that_no_sketch_wrote_is_refused(key: str, value: Any) -> None:
    sketch = Sketch()
    sketch.update([1.0, 2.0, 3.0])
    with pytest.raises(SketchError):
        read_sketch({**sketch.to_json(), key: value})
