from __future__ import annotations

import pytest
import yaml

from edgekit._package.text_yaml import render_yaml


@pytest.mark.parametrize(
    "value",
    [
        {"a": {"b": [1, 2.5, None, True], "empty": {}, "none": [], "rows": [{"x": "1.0", "y": {"z": "no"}}]}},
        {"hostile": ["- a: b", "yes", "1e5", "0x1f", "~", "", " lead", "a # b", 'quo"te', "new\nline", "*x"]},
        {"letters": "\u00e9 \U0001f600 \u2028 \x7f \x85", "key: with # marks": [["a", 1], [-1, 3]]},
        {"tiny": 1e-07, "large": 1e300, "small": 5.960464477539063e-08, "whole": 3.0},
    ],
)
def test_pyyaml_reads_back_what_was_written(value: object) -> None:
    assert isinstance(value, dict)
    assert yaml.safe_load(render_yaml(value)) == value
