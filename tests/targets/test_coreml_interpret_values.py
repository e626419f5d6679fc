"""The MIL interpreter beside coremltools' own constant folding, for the operations that it folds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edgekit.targets.coreml.write_package import quiet
from tests.targets.test_coreml_interpret import evaluate

if TYPE_CHECKING:
    from pathlib import Path

RNG = np.random.default_rng(29)
ANY = RNG.standard_normal((2, 3, 4)).astype(np.float32)
UNIT = RNG.uniform(-0.9, 0.9, (2, 3, 4)).astype(np.float32)
ABOVE = RNG.uniform(0.1, 3, (2, 3, 4)).astype(np.float32)
WHOLE = RNG.integers(-5, 6, (2, 3, 4)).astype(np.int32)
HALVES = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5], np.float32)
CHANNELS = np.array([0.5, -0.25, 2], np.float32)
AXES: dict[str, Any] = {"axes": [0, 2], "keep_dims": False}

# (operation, its input x, its other parameters)
FOLDED: list[tuple[str, np.ndarray, dict[str, Any]]] = [
    *[
        (op, ANY, {})
        for op in (
            "abs", "atan", "ceil", "cos", "cosh", "erf", "exp", "exp2", "floor", "relu", "relu6",
            "sigmoid", "sign", "sin", "sinh", "softplus", "softsign", "square", "tan", "tanh",
        )
    ],
    *[(op, UNIT, {}) for op in ("acos", "asin", "atanh")],
    *[(op, ABOVE, {"epsilon": 0.125}) for op in ("inverse", "log", "rsqrt")],
    *[
        (op, ANY, {"alpha": 0.5, "beta": 0.75})
        for op in ("clamped_relu", "clip", "linear_activation", "scaled_tanh", "sigmoid_hard")
    ],
    *[(op, ANY, {"alpha": 0.5}) for op in ("elu", "leaky_relu", "threshold", "thresholded_relu")],
    *[
        (op, ABOVE, AXES)
        for op in (
            "reduce_l1_norm", "reduce_l2_norm", "reduce_log_sum", "reduce_log_sum_exp", "reduce_max",
            "reduce_mean", "reduce_min", "reduce_prod", "reduce_sum", "reduce_sum_square",
        )
    ],
    *[
        ("gelu", ANY, {"mode": mode})
        for mode in ("EXACT", "TANH_APPROXIMATION", "SIGMOID_APPROXIMATION")
    ],
    *[
        (op, ANY, {"y": CHANNELS[:, None]})
        for op in ("add", "floor_div", "maximum", "minimum", "mod", "mul", "real_div", "sub")
    ],
    *[
        (op, WHOLE, {"y": np.array([[[3], [-2], [4]]], np.int32)})
        for op in (
            "add", "equal", "floor_div", "greater", "greater_equal", "less", "less_equal", "mod", "not_equal",
        )
    ],
    ("argsort", ANY, {"axis": 1, "ascending": True}),
    ("cast", ANY * 3, {"dtype": "int32"}),
    ("expand_dims", ANY, {"axes": [0, -1]}),
    ("flatten2d", ANY, {"axis": -1}),
    ("gather", ANY, {"indices": np.array([[2, 0], [1, 1]], np.int32), "axis": 1}),
    ("gather_along_axis", ANY, {"indices": np.abs(WHOLE) % 3, "axis": 1}),
    ("l2_norm", ANY, {"epsilon": 0.125}),
    ("layer_norm", ANY, {"axes": [1, 2], "gamma": ANY[0], "beta": UNIT[1], "epsilon": 0.125}),
    ("linear", ANY[0], {"weight": UNIT[1], "bias": CHANNELS}),
    ("matmul", ANY, {"y": UNIT, "transpose_y": True}),
    ("non_zero", np.maximum(ANY, 0), {}),
    ("pad", ANY, {"pad": [1, 0, 2, 1], "mode": "constant", "constant_val": 0.5}),
    ("pad", ANY, {"pad": [1, 2, 3, 1], "mode": "reflect"}),
    ("pad", ANY, {"pad": [1, 2, 3, 1], "mode": "replicate"}),
    ("pow", ABOVE, {"y": np.float32(1.5)}),
    ("prelu", ANY[..., None], {"alpha": CHANNELS}),
    ("reduce_argmax", ANY, {"axis": 1, "keep_dims": True}),
    ("reduce_argmin", ANY, {"axis": -1}),
    ("reshape", ANY, {"shape": [0, -1, 2]}),
    ("reverse", ANY, {"axes": [0, 2]}),
    ("round", HALVES, {}),
    (
        "slice_by_index",
        ANY,
        {
            "begin": [0, 2, 1], "end": [0, 0, -1], "stride": [1, -1, 2],
            "begin_mask": [True, False, False], "end_mask": [True, False, False],
            "squeeze_mask": [False, False, False],
        },
    ),
    ("slice_by_size", ANY, {"begin": [0, 1, 1], "size": [2, -1, 2]}),
    ("softmax", ANY, {"axis": 1}),
    ("softplus_parametric", ANY, {"alpha": CHANNELS, "beta": CHANNELS[::-1].copy()}),
    ("split", ANY, {"split_sizes": [1, 3], "axis": 2}),
    ("squeeze", ANY[:, :1], {"axes": [1]}),
    ("sqrt", ABOVE, {}),
    ("tile", ANY, {"reps": [1, 2, 3]}),
    ("topk", ANY, {"k": 2, "axis": 1}),
    ("transpose", ANY, {"perm": [2, 0, -2]}),
]  # fmt: skip


def fold(op: str, x: np.ndarray, parameters: dict[str, Any]) -> list[np.ndarray]:
    """What coremltools makes of the operation when every input is constant (its iOS 16 definition)."""
    from coremltools.converters.mil.mil import Builder, Function, Program

    from edgekit.targets.coreml.write_program import opset_of

    builder: Any = Builder
    with quiet():
        Program()
        with Function({}, opset_version=opset_of(16)):
            made = getattr(builder, op)(x=builder.const(val=x), **parameters)
            results = list(made) if isinstance(made, tuple | list) else [made]
            return [np.asarray(item.val) for item in results]


@pytest.mark.parametrize(("op", "x", "parameters"), FOLDED, ids=[row[0] for row in FOLDED])
def test_an_operation_computes_what_coremltools_folds(
    op: str, x: np.ndarray, parameters: dict[str, Any], tmp_path: Path
) -> None:
    truth = fold(op, x, parameters)
    got = evaluate(lambda mb, v: getattr(mb, op)(x=v["x"], **parameters), {"x": x}, tmp_path, 16)
    for mine, expected in zip(got, truth, strict=True):
        assert expected.dtype != object
        assert mine.shape == expected.shape
        np.testing.assert_allclose(mine, expected, rtol=2e-6, atol=2e-6)
