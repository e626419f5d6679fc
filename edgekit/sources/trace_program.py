"""What a module does, operator by operator, as torch runs it on shapes alone."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from edgekit.sources.extend_layers import Made, Program, Read, Shared, Step

if TYPE_CHECKING:
    from edgekit.sources.repeated_layers import RepeatedLayers
    from edgekit.sources.torch_component import TorchComponent


def trace_program(component: TorchComponent, layers: RepeatedLayers) -> Program:
    """The operators that the component's module runs on its example inputs, and what each of them reads.

    Nothing is computed. Raises what the module raises where it asks for numbers.
    """
    recorder = _Recorder(component, layers)
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad(), recorder:
        outputs = component.module(**component.inputs)
    found = [one for one in pytree.tree_leaves(outputs) if one is not None]
    labels = map(layers.label_output, component.outputs)
    return Program(
        tuple(recorder.steps), {label: recorder.read(one) for label, one in zip(labels, found, strict=True)}
    )


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own
    """Writes down each operator; tensors are known by where they come from."""

    def __init__(self, component: TorchComponent, layers: RepeatedLayers) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's own
        self.steps: list[Step] = []
        self._held: list[torch.Tensor] = []  # alive, so that no two have one id
        self._known: dict[int, Read] = {}
        module = component.module
        for name, tensor in (*module.named_parameters(), *module.named_buffers()):
            self._know(tensor, layers.read_weight(name))
        for name, tensor in component.flat_inputs().items():
            self._know(tensor, layers.read_input(name))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        given, form = pytree.tree_flatten((args, kwargs or {}))
        reads = tuple(self.read(one) for one in given if isinstance(one, torch.Tensor))
        rest = tuple("tensor" if isinstance(one, torch.Tensor) else repr(one) for one in given)
        result = func(*args, **(kwargs or {}))
        made = [one for one in pytree.tree_leaves(result) if isinstance(one, torch.Tensor)]
        place = len(self.steps)
        if made:
            shapes = tuple((tuple(one.shape), one.dtype) for one in made)
            self.steps.append(Step((str(func), str(form), rest, shapes), reads, place))
        for number, one in enumerate(made):
            self._know(one, Made(place, number))
        return result

    def read(self, tensor: torch.Tensor) -> Read:
        """Where a tensor comes from; a constant of the code is known by its numbers, or equals no other."""
        known = self._known.get(id(tensor))
        if known is not None:
            return known
        if isinstance(tensor, FakeTensor):
            return Shared(object())
        numbers = sha256(tensor.detach().cpu().contiguous().numpy().tobytes()).hexdigest()
        return Shared((tuple(tensor.shape), tensor.dtype, numbers))

    def _know(self, tensor: torch.Tensor, read: Read) -> None:
        self._held.append(tensor)
        self._known[id(tensor)] = read
