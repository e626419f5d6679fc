"""Export errors in the user's terms: which module, which source line, what to change."""

from __future__ import annotations

import linecache
import re
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from edgekit.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    import torch

_OWN = Path(__file__).parent
_STANDARD = Path(traceback.__file__).parent  # Python's own library
_TOOLS = ("torch", "onnxscript", "onnx_ir")
_FRAME = re.compile(r'File "([^"]+)", line (\d+), in (\w+)')
_FIXED = re.compile(r"You marked (.+?) as dynamic but your code specialized it to be a constant \((\d+)\)")
_BOUND = re.compile(r"Not all values of (\w+) = .+ satisfy the generated guard (\d+) <= .+ <= \2\b")
_NO_OP = re.compile(r"No ONNX function found for <OpOverload\(op='([\w.:]+)'")
# What torch calls a value that hangs on the numbers in a tensor.
_DATA = (
    "data-dependent",
    "Data dependent",
    "data dependent",
    "unbacked",
    "Dynamic control flow",
    "Dynamic slicing",
)
WITH_WEIGHTS = "give it with its weights, without --shape-only and --random-weights"
_DATA_TYPES = ("GuardOnDataDependentSymNode", "DataDependentOutputException", "PendingUnbackedSymbolNotFound")


class _Place(NamedTuple):
    """A line of the user's code, and the submodule whose method it is in ("" where unknown)."""

    file: str
    line: int
    function: str
    module: str

    def __str__(self) -> str:
        text = linecache.getline(self.file, self.line).strip()
        owner = f"module '{self.module}', " if self.module else ""
        code = f": `{text[:120]}`" if text else ""
        return f"{owner}{self.file}:{self.line} in {self.function}{code}"


def explain_export(error: Exception, module: torch.nn.Module, label: str, graph: Any = None) -> ModelError:
    """The ModelError that says where in the user's code an export broke and what to change there.

    graph: what torch.export captured, if it came that far.
    """
    told = str(error)
    place = _find_place(error, module)
    where = f" at {place}" if place else ""
    kinds = {type(one).__name__ for one in _chain(error)}
    if kinds & set(_DATA_TYPES) or any(words in told for words in _DATA):
        return ModelError(
            f"{label} can't be exported: its code branches on, or takes a size from, numbers in a tensor"
            f"{where}",
            fix="choose with torch.where (compute both sides) or torch.cond, pad to a fixed size, or decide "
            "by shapes and by arguments of __init__",
        )
    fixed = _FIXED.search(told) or _BOUND.search(told)
    if fixed:
        return ModelError(
            f"{label} can't be exported: a dim that you call open, {fixed[1]}, is always {fixed[2]} in the "
            f"code{where}",
            fix="leave that dim out of the dynamic ones, or use x.shape where the code holds the number",
        )
    if "Constraints violated" in told:
        line = next((one.strip(" -") for one in told.splitlines() if one.strip().startswith("-")), "")
        return ModelError(
            f"{label} can't be exported with its open dims: {line[:300]}{where}",
            fix="narrow the range of that dim, or leave it fixed",
        )
    missing = _NO_OP.search(told)
    if missing:
        place = _find_op(missing[1], graph) or place
        where = f" at {place}" if place else ""
        return ModelError(
            f"{label} can't be exported: torch's '{missing[1]}' has no ONNX form{where}",
            fix="write that step in plain tensor operations",
        )
    return ModelError(
        f"{label} can't be exported: {type(error).__name__}: {_first_line(told)}{where}",
        fix="run module(**inputs) by itself; what runs there and not here must be written in plain tensor "
        "operations",
    )


def explain_run(error: Exception, module: torch.nn.Module, label: str) -> ModelError:
    """The ModelError of a module that raises on its own example inputs."""
    told = f"{type(error).__name__} on its example inputs: {_first_line(str(error))}"
    return ModelError(
        f"{label} raised {told}{_where(error, module)}", fix="mend it until module(**inputs) runs"
    )


def explain_shapes(error: Exception, module: torch.nn.Module, label: str) -> ModelError:
    """The ModelError of a module that raises on its example inputs' shapes alone."""
    where = _where(error, module)
    if {type(one).__name__ for one in _chain(error)} & set(_DATA_TYPES):
        return ModelError(
            f"{label} decides by numbers in a tensor, and shapes alone have none{where}", fix=WITH_WEIGHTS
        )
    told = f"{type(error).__name__} on the shapes of its example inputs: {_first_line(str(error))}"
    return ModelError(
        f"{label} raised {told}{where}", fix=f"{WITH_WEIGHTS}; if module(**inputs) raises there too, mend it"
    )


def _where(error: Exception, module: torch.nn.Module) -> str:
    place = _find_place(error, module)
    return f" at {place}" if place else ""


def user_line(error: Exception) -> str:
    """`file:line in function: code` of the deepest line that is neither torch's nor edgekit's; "" if none."""
    place = _find_place(error, None)
    return str(place) if place else ""


def _find_place(error: Exception, module: torch.nn.Module | None) -> _Place | None:
    names = (
        {}
        if module is None
        else {id(one): name or type(one).__name__ for name, one in module.named_modules()}
    )
    found = None
    for one in _chain(error):
        found = _deepest(one.__traceback__, names) or found
    return found or _written(str(error))


def _find_op(op: str, graph: Any) -> _Place | None:
    """The line that asks for an operator, which the exporter may know under a longer or shorter name."""
    wanted = op.rsplit(".", maxsplit=1)[-1].rsplit("::", maxsplit=1)[-1]
    for node in graph.nodes if graph is not None else ():
        name = [*str(node.target).split("."), ""][1]
        if node.op == "call_function" and name and (name.startswith(wanted) or wanted.startswith(name)):
            return _written(str(node.meta.get("stack_trace")))
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what caused it, the last one first."""
    seen: list[BaseException] = []
    now: BaseException | None = error
    while now is not None and now not in seen:
        seen.append(now)
        now = now.__cause__ or now.__context__
    return reversed(seen)


def _deepest(trace: TracebackType | None, names: dict[int, str]) -> _Place | None:
    found = None
    for frame, line in traceback.walk_tb(trace):
        file = frame.f_code.co_filename
        if _is_users(file):
            owner = names.get(id(frame.f_locals.get("self")), "")
            found = _Place(file, line, frame.f_code.co_name, owner)
    return found


def _written(text: str) -> _Place | None:
    """The deepest line of the user's that a message quotes, as ONNX conversion errors do."""
    places = [
        _Place(file, int(line), name, "") for file, line, name in _FRAME.findall(text) if _is_users(file)
    ]
    return places[-1] if places else None


def _is_users(file: str) -> bool:
    path = Path(file)
    if path.is_relative_to(_OWN) or not path.is_file():
        return False
    parts = path.parts
    if "site-packages" in parts:
        return parts[parts.index("site-packages") + 1] not in _TOOLS
    return not path.is_relative_to(_STANDARD)


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")[:300]
