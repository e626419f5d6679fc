"""Chooses each tensor's range, its extremes or the one of least squared error, by what the outputs say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit._qdq import round_activation
from edgekit._search.shift_session import ShiftSession
from edgekit._verify import float_session, with_taps

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import onnx_ir as ir

    from edgekit._schemes import QuantParams

    Arrays = Mapping[str, np.ndarray]
    Params = Mapping[str, QuantParams]

_DIFFERS = 0.02  # scales nearer than that round alike
# The clipped range must move the outputs this much less: few samples judge, and what they clip least is
# not what others do.
_BETTER = 0.8


def choose_clipped(
    float_model: ir.Model, *, whole: Params, clipped: Params, feeds: Sequence[Arrays]
) -> frozenset[str]:
    """The tensors that do better under `clipped` than under `whole`, the same tensors' parameters.

    Two runs of the float model for each tensor whose two scales differ, and each sample.
    """
    made = {str(value.name) for node in float_model.graph for value in node.outputs}
    tensors = [
        name
        for name, params in whole.items()
        if name in made and name in clipped and clipped[name].scale < (1 - _DIFFERS) * params.scale
    ]
    exact, session = float_session(with_taps(float_model, tensors)), ShiftSession(float_model, tensors)
    moved = {name: [0.0, 0.0] for name in tensors}
    for sample in feeds:
        known, quiet = exact.run(sample), session.run(sample)
        for name in tensors:
            for index, params in enumerate((whole[name], clipped[name])):
                shift = round_activation(known[name], params) - known[name]
                moved[name][index] += session.distance(sample, quiet, name, shift)
    return frozenset(name for name, (all_of_it, cut) in moved.items() if cut < _BETTER * all_of_it)
