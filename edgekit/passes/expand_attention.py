"""Attention and FlexAttention -> MatMul, Softmax and what stands between them, for known shapes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgekit.passes._attention_bias import BiasBuilder
from edgekit.passes._rewire import Names, graph_of, input_of, static_shape

if TYPE_CHECKING:
    from collections.abc import Sequence

_NARROW = frozenset((ir.DataType.FLOAT16, ir.DataType.BFLOAT16))


def expand_attention(node: ir.Node, names: Names) -> bool:
    """Write Attention (opset 23 to 25) out; False, with nothing changed, where a shape is not known.

    Q, K, V are [batch, heads, positions, size] or [batch, positions, heads * size]; key and value heads may
    be fewer (GQA): the queries of one group are stacked, so that no key is repeated.
    """
    given = [value for value in node.inputs if value is not None]
    if any(static_shape(value) is None or value.dtype is None for value in given):
        return False
    _Attention(node, names).expand()
    return True


def expand_flex_attention(node: ir.Node, names: Names) -> bool:
    """Write FlexAttention (ai.onnx.preview) of float32 out, its two subgraphs put in.

    False where a shape is unknown, or another dtype comes in.
    """
    values = [value for value in node.inputs if value is not None]
    if len(values) < len(node.inputs) or any(static_shape(value) is None for value in values):
        return False
    if any(value.dtype != ir.DataType.FLOAT for value in values):
        return False
    _Attention(node, names).expand_flex()
    return True


class _Attention:
    def __init__(self, node: ir.Node, names: Names) -> None:
        self.node, self.names = node, names
        query = node.inputs[0]
        assert query is not None
        assert query.dtype is not None
        self.dtype: ir.DataType = query.dtype
        self.flat = len(_shape(query)) == 3
        self.q, self.k, self.v = (
            self._heads(index, name)
            for index, name in enumerate(("q_num_heads", "kv_num_heads", "kv_num_heads"))
        )

    def expand(self) -> None:
        """softmax(softcap(scale Q K') + bias) V, and the optional results."""
        self.k, self.v = self._behind(4, self.k), self._behind(5, self.v)
        raw = scores = self._scores()
        cap = self._number("softcap", 0.0)
        if cap:
            limit = self._constant("softcap", cap)
            scores = self._add("Mul", self._add("Tanh", self._add("Div", scores, limit)), limit)
        capped = scores
        queries, keys = _shape(self.q)[2], _shape(self.k)[2]
        mask = BiasBuilder(self.node, self.names, queries, keys).build()
        if mask.bias is not None:
            scores = self._add("Add", scores, mask.bias)
        probabilities = self._softmax(scores)
        if mask.alive is not None:
            zero = self._constant("zero", 0.0)
            probabilities = self._add("Where", mask.alive, probabilities, zero)
        made = self._weighted(probabilities)
        shown = (raw, capped, scores, probabilities)[self._integer("qk_matmul_output_mode", 0)]
        self._hand_over([self._flat(made) if self.flat else made, self.k, self.v, shown])

    def expand_flex(self) -> None:
        """prob_mod(softmax(score_mod(scale Q K'))) V, all but the first product in the softmax's dtype."""
        inner = self._softmax_dtype()
        scores = self._modified("score_mod", self._cast(self._scores(), inner))
        probabilities = self._modified("prob_mod", self._softmax(scores))
        self.v = self._cast(self.v, inner)
        self._hand_over([self._cast(self._weighted(probabilities), self.dtype)])

    def _heads(self, index: int, name: str) -> ir.Value:
        """[batch, heads, positions, size]."""
        value = self.node.inputs[index]
        assert value is not None
        if not self.flat:
            return value
        batch, positions, width = _shape(value)
        count = self._integer(name, 1)
        split = self._reshape(value, (batch, positions, count, width // count))
        return self._transpose(split, (0, 2, 1, 3))

    def _behind(self, index: int, value: ir.Value) -> ir.Value:
        """The past keys or values, then these."""
        past = input_of(self.node, index)
        if past is None:
            return value
        batch, heads, positions, size = _shape(value)
        made = self.names.insert_before(self.node, "Concat", [past, value], axis=2)
        return self._known_as(made, [batch, heads, positions + _shape(past)[2], size])

    def _scores(self) -> ir.Value:
        """scale Q K' [batch, query heads, queries, keys]."""
        batch, heads, queries, size = _shape(self.q)
        groups, keys = _shape(self.k)[1:3]
        scale = self._number("scale", 1 / np.sqrt(size))
        scaled = self._add("Mul", self.q, self._constant("scale", scale))
        stacked = self._reshape(scaled, (batch, groups, heads // groups * queries, size), of=self.q)
        product = self._add("MatMul", stacked, self._transpose(self.k, (0, 1, 3, 2)))
        return self._reshape(product, (batch, heads, queries, keys), changed=heads != groups)

    def _weighted(self, probabilities: ir.Value) -> ir.Value:
        """probabilities V [batch, query heads, queries, value size]."""
        batch, heads, queries, _ = _shape(self.q)
        _, groups, keys, size = _shape(self.v)
        stacked = self._reshape(
            probabilities, (batch, groups, heads // groups * queries, keys), changed=heads != groups
        )
        product = self._add("MatMul", stacked, self.v)
        made = self._reshape(product, (batch, heads, queries, size), changed=heads != groups)
        return self._known_as(made, (batch, heads, queries, size))

    def _softmax(self, scores: ir.Value) -> ir.Value:
        """Along the keys, in `softmax_precision` where that is wider than the data."""
        wanted = ir.DataType(self._integer("softmax_precision", int(self.dtype)))
        wider = self.node.op_type == "Attention" and wanted != self.dtype and wanted not in _NARROW
        source = self._cast(scores, wanted) if wider else scores
        made = self.names.insert_before(self.node, "Softmax", [source], axis=-1)
        made.dtype = source.dtype or self.dtype
        return self._cast(made, self.dtype) if wider else made

    def _softmax_dtype(self) -> ir.DataType:
        default = ir.DataType.DOUBLE if self.dtype == ir.DataType.DOUBLE else ir.DataType.FLOAT
        return ir.DataType(self._integer("softmax_precision", int(default)))

    def _modified(self, name: str, value: ir.Value) -> ir.Value:
        """The result of the subgraph attribute on `value`; `value` itself where it is left out."""
        if name not in self.node.attributes:
            return value
        body = self.node.attributes[name].as_graph()
        graph = graph_of(self.node)
        (source,), (result,) = body.inputs, body.outputs
        body.outputs.clear()
        prefix = f"{self.node.outputs[0].name}/{name}"
        result = self.names.take_initializers(body, graph, prefix).get(result, result)
        source.replace_all_uses_with(value)
        for inner in tuple(body):
            body.remove(inner)
            inner.name = None
            for output in inner.outputs:
                if output.name:
                    output.name, output.shape = self.names.free(f"{prefix}/{output.name}"), None
            graph.insert_before(self.node, inner)
        return value if result is source else result

    def _flat(self, value: ir.Value) -> ir.Value:
        """[batch, positions, heads * size]."""
        batch, heads, positions, size = _shape(value)
        return self._reshape(self._transpose(value, (0, 2, 1, 3)), (batch, positions, heads * size))

    def _hand_over(self, results: Sequence[ir.Value]) -> None:
        """Every named result of the node becomes one of these, under its old name."""
        taken: set[ir.Value] = set()
        for old, result in zip(self.node.outputs, results, strict=False):
            if not old.name:
                continue
            own = result.producer() is not None and result not in taken and result not in self.node.inputs
            new = result if own else self._add("Identity", result)
            taken.add(new)
            name, shape, kind = old.name, old.shape, old.type
            old.replace_all_uses_with(new, replace_graph_outputs=True)
            old.name = f"{name}/expanded"
            new.name, new.shape, new.type = name, shape, kind
        graph_of(self.node).remove(self.node, safe=True)

    def _reshape(
        self,
        value: ir.Value,
        shape: Sequence[int],
        *,
        of: ir.Value | None = None,
        changed: bool | None = None,
    ) -> ir.Value:
        """`value` in this shape; itself where it has it (its shape is that of `of`)."""
        if changed is False or (changed is None and static_shape(of or value) == tuple(shape)):
            return value
        target = self.names.add_initializer(
            graph_of(self.node), f"{self.node.outputs[0].name}/shape", np.array(shape, np.int64)
        )
        return self._known_as(self._add("Reshape", value, target), shape)

    def _transpose(self, value: ir.Value, order: Sequence[int]) -> ir.Value:
        made = self.names.insert_before(self.node, "Transpose", [value], perm=list(order))
        return self._known_as(made, [_shape(value)[axis] for axis in order])

    def _cast(self, value: ir.Value, dtype: ir.DataType) -> ir.Value:
        if dtype == (value.dtype or self.dtype):
            return value
        made = self.names.insert_before(self.node, "Cast", [value], to=int(dtype))
        made.dtype, made.shape = dtype, value.shape
        return made

    def _known_as(self, value: ir.Value, shape: Sequence[int]) -> ir.Value:
        value.shape = ir.Shape(shape)
        value.dtype = value.dtype or self.dtype
        return value

    def _add(self, op: str, *inputs: ir.Value) -> ir.Value:
        return self.names.insert_before(self.node, op, inputs)

    def _constant(self, name: str, value: float) -> ir.Value:
        array = np.array(value, self.dtype.numpy())
        return self.names.add_initializer(graph_of(self.node), f"{self.node.outputs[0].name}/{name}", array)

    def _integer(self, name: str, default: int) -> int:
        attribute = self.node.attributes.get(name)
        return default if attribute is None else attribute.as_int()

    def _number(self, name: str, default: float) -> float:
        attribute = self.node.attributes.get(name)
        return default if attribute is None else attribute.as_float()


def _shape(value: ir.Value) -> tuple[int, ...]:
    shape = static_shape(value)
    assert shape is not None
    return shape
