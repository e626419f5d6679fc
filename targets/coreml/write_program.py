"""A MIL graph -> coremltools' program, operation by operation through its Builder, which checks each."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.errors import TargetError
from edgekit.targets.coreml.graph import Loop, Packed, Palette, Tensor

if TYPE_CHECKING:
    from edgekit.targets.coreml.graph import Graph, Operator

_NO_NAME = re.compile(r"[^A-Za-z0-9_]")
# Words of MIL's text form, which coremltools renames (its pass common::sanitize_input_output_names).
_RESERVED = re.compile(
    "any|bool|dict|false|func|list|program|state|string|tensor|true|tuple|bf16|fp(16|32|64)|u?int(8|16|32|64)"
)
_BLOCKWISE = 18


class ProgramNames:
    """Gives each tensor one name that MIL accepts; the source's own where it is one already."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def free(self, wish: str) -> str:
        name = _NO_NAME.sub("_", wish) or "v"
        name = f"v{name}" if name[0].isdigit() or name[0] == "_" else name
        name = f"{name}_value" if _RESERVED.fullmatch(name) else name
        found, number = name, 0
        while found in self._taken:
            number += 1
            found = f"{name}_{number}"
        self._taken.add(found)
        return found


class ProgramWriter:
    """Writes one graph for one deployment target; afterwards `names` holds source name -> MIL name."""

    def __init__(self, graph: Graph, level: int) -> None:
        self.graph = graph
        self.level = level
        self.names: dict[str, str] = {}
        self._free = ProgramNames()
        self._vars: dict[Tensor, Any] = {}
        self._symbols: dict[str, Any] = {}

    def write(self) -> Any:
        """The program (coremltools' `Program`), with one function `main`."""
        from coremltools.converters.mil.mil import Function, Program

        program = Program()
        holders = {
            self._name(tensor): (
                tensor,
                _builder().placeholder(shape=self._dims(tensor), dtype=_mil_type(tensor.dtype)),
            )
            for tensor in self.graph.inputs
        }
        for tensor in self.graph.states:
            kept = _builder().state_tensor_placeholder(shape=tensor.shape, dtype=_mil_type(tensor.dtype))
            holders[self._name(tensor)] = (tensor, kept)
        # Outputs are named first: nothing else may take their names.
        for tensor in self.graph.outputs:
            self._name(tensor)
        inputs = {name: holder for name, (_, holder) in holders.items()}
        with Function(inputs, opset_version=opset_of(self.level)) as function:
            for name, (tensor, _) in holders.items():
                self._vars[tensor] = function.inputs[name]
            for operator in self.graph.operators:
                self._write(operator)
            function.set_outputs([self._var(tensor) for tensor in self.graph.outputs])
        program.add_function("main", function)
        return program

    def _dims(self, tensor: Tensor) -> tuple[Any, ...]:
        """Sizes, and one of coremltools' symbols for each dim that only the run knows."""
        from coremltools.converters.mil.mil import get_new_symbol

        for dim in tensor.shape:
            if isinstance(dim, str) and dim not in self._symbols:
                self._symbols[dim] = get_new_symbol()
        return tuple(dim if isinstance(dim, int) else self._symbols[dim] for dim in tensor.shape)

    def _name(self, tensor: Tensor) -> str:
        if tensor.name not in self.names:
            self.names[tensor.name] = self._free.free(tensor.name)
        return self.names[tensor.name]

    def _write(self, operator: Operator) -> None:
        if isinstance(operator, Loop):
            self._write_loop(operator)
            return
        first = operator.outputs[0]
        name = (
            self._name(first) if first.name and len(operator.outputs) == 1 else self._free.free(operator.code)
        )
        given = {key: self._argument(value) for key, value in operator.inputs.items()}
        try:
            made = getattr(_builder(), operator.code)(**given, name=name)
        except (ValueError, TypeError, AssertionError, IndexError, NotImplementedError) as error:
            raise TargetError(
                f"coremltools refuses the '{operator.code}' of '{first.name or name}': {str(error)[:200]}",
                fix="report this as a defect of edgekit, with the model",
            ) from error
        for tensor, var in zip(
            operator.outputs, made if isinstance(made, tuple | list) else [made], strict=True
        ):
            _compare(operator, tensor, var)
            self._vars[tensor] = var
            if tensor.name and len(operator.outputs) > 1:
                var.name = self._name(tensor)

    def _write_loop(self, loop: Loop) -> None:
        """What the body makes is known inside of it alone: constants too."""
        around = dict(self._vars)

        def step(*variables: Any) -> tuple[Any, ...]:
            self._vars = around | dict(zip(loop.variables, variables, strict=True))
            for operator in loop.body.operators:
                self._write(operator)
            return tuple(self._var(tensor) for tensor in loop.body.outputs)

        made = _builder().while_loop(
            _cond=lambda counter, *_: _builder().squeeze(
                x=_builder().less(x=counter, y=loop.steps), axes=[0]
            ),
            _body=step,
            loop_vars=tuple(self._var(tensor) for tensor in loop.inputs["loop_vars"]),
            name=self._free.free(loop.code),
        )
        self._vars = around | dict(zip(loop.outputs, made, strict=True))

    def _argument(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return self._var(value)
        if isinstance(value, list | tuple) and value and isinstance(value[0], Tensor):
            return [self._var(item) for item in value]
        if isinstance(value, list | tuple):
            kind = bool if value and isinstance(value[0], bool) else np.int32
            return np.asarray(value, kind)
        return np.float32(value) if isinstance(value, float) else value

    def _var(self, tensor: Tensor) -> Any:
        """The tensor's variable; a constant becomes one operation, whoever reads it."""
        if tensor not in self._vars:
            self._vars[tensor] = self._constant(tensor)
        return self._vars[tensor]

    def _constant(self, tensor: Tensor) -> Any:
        name = self._free.free(tensor.name or "weight")
        if tensor.packed is not None:
            return self._restored(tensor.packed, name)
        if tensor.palette is not None:
            return self._looked_up(tensor.palette, name)
        assert tensor.array is not None
        array = tensor.array.astype(tensor.dtype, copy=False)
        return _builder().const(val=array if array.ndim else array[()], name=name)

    def _restored(self, packed: Packed, name: str) -> Any:
        """The operation that restores a packed weight when the model loads."""
        from coremltools.converters.mil.mil.types import np_int4_dtype

        if self.level >= _BLOCKWISE:
            kind = np_int4_dtype if packed.bits == 4 else packed.integers.dtype
            offset = {} if packed.offset is None else {"offset": packed.offset.astype(kind)}
            return _builder().constexpr_blockwise_shift_scale(
                data=packed.integers.astype(kind), scale=packed.scale, name=name, **offset
            )
        axes = [axis for axis, size in enumerate(packed.scale.shape) if size > 1]
        axis = axes[0] if axes else 0
        scale = packed.scale.reshape(-1) if axes else packed.scale.reshape(())[()]
        zero = np.zeros(packed.scale.shape, packed.integers.dtype) if packed.offset is None else packed.offset
        zero = zero.reshape(-1) if axes else zero.reshape(())[()]
        return _builder().constexpr_affine_dequantize(
            quantized_data=packed.integers, zero_point=zero, scale=scale, axis=axis, name=name
        )

    def _looked_up(self, palette: Palette, name: str) -> Any:
        """The operation that looks a palettized weight up when the model loads."""
        from coremltools.converters.mil.mil.types import type_mapping
        from coremltools.optimize._utils import pack_elements_into_bits

        if self.level < _BLOCKWISE:
            return _builder().constexpr_lut_to_dense(
                indices=pack_elements_into_bits(palette.indices.reshape(-1), palette.bits),
                lut=palette.table,
                shape=np.asarray(palette.indices.shape, np.uint32),
                name=name,
            )
        kind = type_mapping.string_to_nptype(f"uint{palette.bits}")
        table = palette.table.reshape(*[1] * palette.indices.ndim, -1, 1)
        return _builder().constexpr_lut_to_dense(indices=palette.indices.astype(kind), lut=table, name=name)


def _builder() -> Any:
    """coremltools' Builder; its methods are made at run time, so no checker knows them."""
    from coremltools.converters.mil.mil import Builder

    return Builder


def opset_of(level: int) -> Any:
    """coremltools' deployment target of a level."""
    import coremltools

    return getattr(coremltools.target, f"iOS{level}")


def _mil_type(dtype: str) -> Any:
    from coremltools.converters.mil.mil import types

    return {"float16": types.fp16, "float32": types.fp32, "int32": types.int32}[dtype]


def _compare(operator: Operator, tensor: Tensor, var: Any) -> None:
    """coremltools' own inference must say what the rule says."""
    from coremltools.converters.mil.mil.types import builtin_to_string

    word = builtin_to_string(var.dtype)
    kind = {"fp16": "float16", "fp32": "float32"}.get(word, word)
    pairs = zip(tensor.shape, var.shape, strict=False)
    same = all(int(b) == a for a, b in pairs if isinstance(a, int) and isinstance(b, int | np.integer))
    if kind != tensor.dtype or len(var.shape) != tensor.rank or not same:
        raise TargetError(
            f"coremltools makes {kind}{list(var.shape)} of '{operator.code}' where edgekit expects "
            f"{tensor.dtype}{list(tensor.shape)}",
            fix="report this as a defect of edgekit, with the model",
        )
