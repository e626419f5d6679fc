"""A bias of [1, 1, N] behind a product -> [N]: ONNX Runtime joins MatMul and Add into one op only then."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.passes._rewire import Names, constant_array

if TYPE_CHECKING:
    import onnx_ir as ir


def flatten_bias(model: ir.Model) -> int:
    """Change `model` itself; returns how many biases were flattened. The sums stay what they were."""
    names, changed = Names(model), 0
    for node in model.graph:
        if node.op_type != "Add" or node.domain:
            continue
        for index, product in ((1, node.inputs[0]), (0, node.inputs[1])):
            producer = None if product is None else product.producer()
            bias = constant_array(node.inputs[index])
            if producer is None or producer.op_type != "MatMul" or bias is None or product is None:
                continue
            rank = None if product.shape is None else len(product.shape)
            if bias.ndim < 2 or bias.shape[-1] != bias.size or rank is None or rank < bias.ndim:
                continue
            made = names.add_initializer(model.graph, f"{node.outputs[0].name}/bias", bias.reshape(-1))
            node.replace_input_with(index, made)
            changed += 1
    return changed
