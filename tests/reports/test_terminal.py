"""What reaches a terminal is aligned and visible; what reaches JSON is JSON."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from edgekit._values import Gap, MacShare
from edgekit.cli.progress import _bars
from edgekit.reports.json_form import document, plain
from edgekit.reports.terminal import clean, count, quantity, shorten, size, table


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("plain name/with:0", "plain name/with:0"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\nb\r\t", "a\\nb\\r\\t"),
        ("\u202eabc\u200b\u2028", "\\u202eabc\\u200b\\u2028"),
        ("\x9b31m\x7f", "\\x9b31m\\x7f"),
        ("\udc80", "\\udc80"),
        ("größe 名", "größe 名"),
        ("[bold]x[/]", "[bold]x[/]"),
    ],
)
def test_only_visible_characters_reach_the_terminal(name: str, shown: str) -> None:
    assert clean(name) == shown


def test_tables_are_aligned_also_with_wide_letters() -> None:
    assert table(("a", "n"), [("x", "1"), ("名名", "100")], right=(1,)) == (
        "a       n\n----  ---\nx       1\n名名  100"
    )


def test_a_cell_cannot_break_its_line() -> None:
    assert len(table(("a", "b"), [("x\ny", "z")]).split("\n")) == 3


def test_long_names_lose_their_middle() -> None:
    assert shorten("abcdefghij", 7) == "abc…hij"
    assert shorten("abc", 7) == "abc"


@pytest.mark.parametrize(
    ("value", "text"), [(None, "unknown"), (999, "999"), (1500, "1.50 K"), (2_690_000, "2.69 M"), (0, "0")]
)
def test_counts_are_short(value: int | None, text: str) -> None:
    assert count(value) == text


def test_sizes_and_quantities_are_in_powers_of_1000() -> None:
    assert [size(value) for value in (None, 12, 4_712_345)] == ["unknown", "12 B", "4.71 MB"]
    assert quantity(12.3456, "ms") == "12.35ms"
    assert quantity(2e9, "B") == "2.00 GB"


def test_values_become_json_and_numbers_json_has_not_become_words() -> None:
    gap = Gap("t", "c", "n", "Op", "rule", "way")
    answer = json.loads(document("check", gaps=(gap,), path=Path("a/b"), worst=math.inf, none=math.nan))
    assert answer == {
        "schema": "edgekit.check",
        "version": 1,
        "gaps": [
            {
                "target": "t",
                "component": "c",
                "node": "n",
                "op": "Op",
                "rule": "rule",
                "way_out": "way",
                "severity": "error",
            }
        ],
        "path": "a/b",
        "worst": "inf",
        "none": "nan",
    }
    assert plain({"b", "a"}) == ["a", "b"]
    with pytest.raises(TypeError, match="has no JSON form"):
        plain(object())
    share = {"int8": 1, "total": 2, "weight_int8": 0, "weight_int4": 0, "int16": 0, "int8x4": 0, "int16x4": 0}
    assert plain(MacShare(1, 2)) == share


def test_progress_bars_show_no_markup_of_a_stage(capsys: pytest.CaptureFixture[str]) -> None:
    with _bars() as tell:
        tell("stage [bold]\x1b[2Jx", 1, 2)
        tell("stage [bold]\x1b[2Jx", 2, 2)
    shown = capsys.readouterr().err
    assert "\x1b[2J" not in shown
