"""What a search foretells of samples that nobody saw, beside counts on many of them, and what it decides."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import edgekit
from edgekit._cache import open_cache
from edgekit._plan import resolve_all
from edgekit._qdq import Mix
from edgekit._recipe import Recipe
from edgekit._schemes import PORTABLE
from edgekit._search.close_calls import CloseCalls, tells_one_class
from edgekit._search.judge import Drop, Judge
from edgekit._workshop import Workshop
from edgekit.sources.bound_file import load_bound
from tests.test_same_rounding import make_workspace

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    Rows = np.ndarray

SEEN, OTHERS, CLASSES = 200, 40_000, 10


def draw(noise: float) -> tuple[Rows, Rows]:
    """Scores of many samples, and the same with noise on every class."""
    rng = np.random.default_rng(5)
    exact = rng.standard_normal((SEEN + OTHERS, CLASSES))
    return exact, exact + noise * rng.standard_normal(exact.shape)


def foretell(got: Rows, exact: Rows) -> float:
    calls = CloseCalls()
    for one, other in zip(got, exact, strict=True):
        calls.add(one[None], other[None])
    return calls.changes


def count(got: Rows, exact: Rows) -> float:
    return float(np.mean(got.argmax(-1) != exact.argmax(-1)))


@pytest.mark.parametrize("noise", [0.01, 0.03, 0.1])
def test_200_samples_foretell_what_40000_others_show(noise: float) -> None:
    exact, got = draw(noise)
    told, true = foretell(got[:SEEN], exact[:SEEN]), count(got[SEEN:], exact[SEEN:])
    # The leads of 200 samples are a sample themselves; a count of these 200 may be anything from 0.
    assert told == pytest.approx(true, rel=0.35)


@pytest.mark.parametrize("noise", [0.05, 0.1, 0.2])
def test_200_samples_foretell_what_right_answers_the_changes_cost(noise: float) -> None:
    """Labels drawn by the model's own probabilities: what is lost is the first's less the new one's."""
    exact, got = draw(noise)
    calls, others = CloseCalls(), slice(SEEN, None)
    calls.add(got[:SEEN], exact[:SEEN])
    shares = np.exp(exact) / np.exp(exact).sum(axis=-1, keepdims=True)
    rows = np.arange(SEEN + OTHERS)
    lost = (shares.max(axis=-1) - shares[rows, got.argmax(-1)])[others].mean()
    assert calls.loss == pytest.approx(lost, rel=0.35)
    assert calls.loss < 0.2 * calls.changes


def test_probabilities_foretell_what_their_scores_do() -> None:
    exact, got = (3 * rows[:SEEN] for rows in draw(0.05))
    softmax = [np.exp(rows) / np.exp(rows).sum(axis=-1, keepdims=True) for rows in (got, exact)]
    assert foretell(*softmax) == pytest.approx(foretell(got, exact), rel=1e-6)


def test_nothing_is_foretold_where_nothing_moves_and_all_where_numbers_break() -> None:
    exact, _ = draw(0.0)
    assert foretell(exact[:50], exact[:50]) == 0.0
    broken = exact[:50].copy()
    broken[7, 3:] = np.nan
    assert foretell(broken, exact[:50]) == 1.0


def test_only_rows_that_are_one_decision_each_are_close_calls() -> None:
    assert tells_one_class(np.zeros((2, 10), np.float32))
    assert not tells_one_class(np.zeros((2, 1), np.float32))
    assert not tells_one_class(np.zeros((2, 10), np.int64))
    assert not tells_one_class(np.zeros((1, 40, 10), np.float32))


def workshop_of(place: Path, **options: Any) -> Workshop:
    recipe = Recipe.of(place / "m.onnx", targets="ort-mobile", samples=place / "data", cache="off", **options)
    with open_cache("off") as cache:
        source = load_bound(recipe.model, recipe.bind)
        return Workshop(recipe, source, resolve_all(recipe), cache, lambda *_: None)


def test_what_a_rounding_was_fitted_to_does_not_judge_it_alone(tmp_path: Path) -> None:
    """A session that is right on all samples but those that chose no rounding."""
    shop = workshop_of(make_workspace(tmp_path), max_drop="50%", scheme="portable")
    fitted = shop.fitted_samples(PORTABLE, Mix(rounding="adaround"))
    assert len(fitted) == 24  # of 32 every fourth is held out
    assert shop.fitted_samples(PORTABLE, Mix()) == frozenset()
    unseen = [sample.feeds["x"] for place, sample in enumerate(shop.samples) if place not in fitted]

    class Wrong:
        """Another class than fp32's on half of the samples that chose nothing."""

        def run(self, feeds: Mapping[str, Rows], taps: Sequence[str] = ()) -> dict[str, Rows]:
            outputs = shop.fp32.run(feeds, taps)
            hit = any(np.array_equal(feeds["x"], one) for one in unseen[:4])
            return {name: -rows if hit else rows for name, rows in outputs.items()}

    judge = Judge(shop, 0.5)
    assert judge.measure(Wrong()).seen == 4 / 32
    counted = judge.measure(Wrong(), fitted)
    assert (counted.seen, counted.samples, counted.unseen) == (0.5, 32, 8)


def test_a_search_comes_to_adaround_where_whole_forms_and_ranges_are_not_enough(tmp_path: Path) -> None:
    """With cosine as the metric, a budget just below what rounding to the nearest loses."""
    place = make_workspace(tmp_path)
    common: Any = {
        "targets": ("ort-mobile", "jetson-orin"),
        "samples": place / "data",
        "cache": "off",
        "metric": "cosine",
        "observer": "minmax",
        "scheme": "portable",
    }
    tables = []
    for allowed in ("0.0001%", "2%"):
        result = edgekit.convert(
            place / "m.onnx", max_drop=allowed, output=tmp_path / allowed.strip("%"), **common
        )
        tables.append([json.loads((one.folder / "mix.json").read_text()) for one in result.bundles])
    tight, loose = tables
    rounded = [trial for trial in tight[0]["trials"] if "by AdaRound" in trial["tried"]]
    assert len(rounded) == 1
    assert rounded[0]["drop"] < tight[0]["trials"][0]["drop"]
    assert [table["rounding"] for table in loose] == ["nearest", "nearest"]
    between = (rounded[0]["drop"] + tight[0]["trials"][0]["drop"]) / 2
    result = edgekit.convert(
        place / "m.onnx", max_drop=f"{100 * between:.9f}%", output=tmp_path / "between", **common
    )
    assert result.passed
    assert any("AdaRound did not see" in note for note in result.notes)
    for bundle in result.bundles:
        table = json.loads((bundle.folder / "mix.json").read_text())
        assert (table["rounding"], table["float_nodes"]) == ("adaround", [])
        warned = json.loads((bundle.folder / "manifest.json").read_text())["notes"]
        assert any(note.startswith("AdaRound: the weights of 2 of 2 int8 layers") for note in warned)
        rows = json.loads((bundle.folder / "decisions.json").read_text())["nodes"]
        assert all("rounded by AdaRound" in row["reason"] for row in rows if row["node"] in ("conv", "fc"))


def test_the_worse_of_what_is_seen_and_foretold_decides() -> None:
    assert Drop(0.0, 200, changes=0.05, foretold=0.014).share == 0.014
    assert Drop(0.02, 200, changes=0.05, foretold=0.014).share == 0.02


def test_a_try_that_the_artifacts_gate_would_refuse_is_not_enough(tmp_path: Path) -> None:
    """Every class agrees with fp32's, and the graph is still further from fp32 than the gate allows."""
    place = make_workspace(tmp_path)
    common: Any = {
        "targets": "ort-mobile",
        "samples": place / "data",
        "cache": "off",
        "scheme": "portable",
        "max_drop": "50%",
        "observer": "minmax",
    }
    free = edgekit.convert(place / "m.onnx", output=tmp_path / "free", **common).bundles[0]
    int8 = next(parity for parity in free.parities if parity.variant == "int8")
    asked = int8.against_fp32[0].sqnr_db + 0.1
    held = edgekit.convert(
        place / "m.onnx", output=tmp_path / "held", gate={"min_sqnr_db": asked}, **common
    ).bundles[0]
    assert held.passed
    trials = json.loads((held.folder / "mix.json").read_text())["trials"]
    assert trials[0]["drop"] <= 0.5
    assert f"below {asked:.6g} dB" in trials[0]["missed"][0]
    assert "missed" not in trials[-1]
    got = next(parity for parity in held.parities if parity.variant == "int8")
    assert got.against_fp32[0].sqnr_db >= asked
