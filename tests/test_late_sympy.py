"""sympy is loaded when onnx_ir computes with a symbolic dim, and works as ever then."""

from __future__ import annotations

import subprocess
import sys

import pytest


def run_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_importing_onnx_ir_behind_edgekit_leaves_sympy_unread() -> None:
    code = "import sys, edgekit, onnx_ir; print('sympy.core' in sys.modules)"
    assert run_python(code).strip() == "False"


def test_symbolic_dims_compute_as_without_edgekit() -> None:
    work = (
        "import onnx_ir as ir; n = ir.SymbolicDim('N'); print(n + 1, n * 2, (n + 3) // 2, ir.Shape([n, 3]))"
    )
    assert run_python(f"import edgekit; {work}") == run_python(work)


@pytest.mark.parametrize("order", ["import edgekit, sympy", "import sympy, edgekit"])
def test_a_program_has_its_own_sympy(order: str) -> None:
    code = f"{order}, onnx_ir; print(sympy.Symbol('x') + 1, isinstance(sympy.Symbol('x'), sympy.Expr))"
    assert run_python(code).strip() == "x + 1 True"
