from __future__ import annotations

import re
from typing import TYPE_CHECKING

import onnx
import pytest
from onnx import TensorProto, helper

from edgekit._values import TensorInfo
from edgekit.targets.ort_mobile import OrtMobile
from edgekit.targets.ort_mobile.snippets import Snippet, kotlin, kotlin_string, swift, swift_string
from tests.models import toy_cnn
from tests.targets.ort_mobile_models import component, job, qdq_cnn

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HOSTILE = [
    'x"); Runtime.getRuntime().exec("rm -rf /"); ("',
    "x\nSystem.exit(1)\n//",
    "${System.exit(1)}",
    "\\(exit(1))",
    "*/ import Foundation /*",
    "@FILE@",
    "é\u2028\U0001f600\0",
]


def snippet(name: str, dtype: str = "float32") -> Snippet:
    info = TensorInfo(name, dtype, (1, "evil; dim", 4))
    return Snippet("model.int8.ort", "EdgekitModel", "1.32.0", (info,), (TensorInfo(name, dtype, (1,)),))


def without_literals(text: str) -> str:
    """The code with every string literal taken out, by the rule both languages share."""
    return re.sub(r'"(?:[^"\\\n]|\\.)*"', '""', text)


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("render", [kotlin, swift])
def test_a_name_never_leaves_its_string_literal(render: Callable[[Snippet], str | None], name: str) -> None:
    hostile, plain = render(snippet(name)), render(snippet("x"))
    assert hostile is not None
    assert plain is not None
    assert without_literals(hostile) == without_literals(plain)
    assert hostile.isascii()
    assert "evil" not in hostile
    assert "NOT compiled" in hostile


def test_string_literals_are_escaped_as_each_language_wants() -> None:
    assert kotlin_string('a"b\\c$d\n\U0001f600') == '"a\\"b\\\\c\\$d\\u000a\\ud83d\\ude00"'
    assert swift_string('a"b\\(c)$d\n\U0001f600') == '"a\\"b\\\\(c)$d\\u{a}\\u{1f600}"'


def test_a_dtype_that_an_api_lacks_gives_no_file() -> None:
    assert swift(snippet("x", "float16")) is None
    assert "OnnxJavaType.FLOAT16" in (kotlin(snippet("x", "float16")) or "")
    assert "elementType: .int64" in (swift(snippet("x", "int64")) or "")
    assert kotlin(snippet("x", "string")) is None
    assert swift(snippet("x", "string")) is None


def test_extras_hold_the_real_names_shapes_and_dtypes(tmp_path: Path) -> None:
    target = OrtMobile()
    artifacts = [
        *target.build([component(toy_cnn(batch="n"))], job("fp32"), tmp_path),
        *target.build([component(qdq_cnn("u8"))], job(), tmp_path),
    ]
    assert target.extras(artifacts, job(), tmp_path) == ["android/EdgekitModel.kt", "ios/EdgekitModel.swift"]
    code = (tmp_path / "android/EdgekitModel.kt").read_text()
    assert 'tensors["x"]' in code
    assert "longArrayOf(1L, 3L, 12L, 12L), OnnxJavaType.FLOAT" in code
    assert '"model.int8.ort"' in code
    target.extras(artifacts, job("fp32"), tmp_path)
    code = (tmp_path / "ios/EdgekitModel.swift").read_text()
    assert "input0Dim0: Int" in code
    assert "shape: [NSNumber(value: input0Dim0), 3, 16, 16]" in code
    assert 'outputNames: Set<String> = ["y"]' in code


def test_a_model_with_hostile_names_goes_all_the_way(tmp_path: Path) -> None:
    name = HOSTILE[0]
    x, y = (helper.make_tensor_value_info(text, TensorProto.FLOAT, [2]) for text in (name, "${y}"))
    graph = helper.make_graph([helper.make_node("Relu", [name], ["${y}"])], "g", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    target = OrtMobile()
    artifacts = target.build([component(model)], job("fp32"), tmp_path)
    target.extras(artifacts, job("fp32"), tmp_path)
    code = (tmp_path / "android/EdgekitModel.kt").read_text()
    assert kotlin_string(name) in code
    assert not re.search(r"(?<!\\)\$", code)
    assert "exec" not in without_literals(code)
