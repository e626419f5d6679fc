"""Builds PyTorch modules whose parameters have shapes and take no memory."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import torch

from edgekit.sources.shape_only import NAN_NUMBERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_QUIET_NAN = 0x7FC00000  # IEEE 754 binary32


@contextmanager
def without_weights() -> Iterator[None]:
    """Modules made here have their parameters on torch's meta device; buffers are real.

    Buffers hold what an architecture computes with (rotary frequencies, position tables) and are small.
    """
    register = torch.nn.Module.register_parameter

    def register_meta(module: torch.nn.Module, name: str, param: torch.nn.Parameter | None) -> None:
        if param is not None and not param.is_meta:
            param = torch.nn.Parameter(param.detach().to("meta"), requires_grad=False)
        register(module, name, param)

    with patch.object(torch.nn.Module, "register_parameter", register_meta):
        yield


def fill_hollow(modules: Iterable[torch.nn.Module]) -> None:
    """Meta parameters become CPU ones that repeat a single NaN: every stage of an export takes them.

    NaN marks them in the exported graph, through whatever is folded. Tied parameters stay tied, and others
    have NaNs of other bits, so that no pass takes two of one shape for one.
    """
    filled: dict[int, torch.nn.Parameter] = {}
    for module in modules:
        for part in module.modules():
            held: dict[str, Any] = part._parameters
            for name, param in held.items():
                if param is None or not param.is_meta:
                    continue
                if id(param) not in filled:
                    one = _nan(len(filled), param.dtype)
                    filled[id(param)] = torch.nn.Parameter(one.expand(param.shape), requires_grad=False)
                held[name] = filled[id(param)]


def _nan(number: int, dtype: torch.dtype) -> torch.Tensor:
    """A NaN; of float32 there are 4 million."""
    if dtype != torch.float32:
        return torch.full((), torch.nan, dtype=dtype)
    return torch.tensor(_QUIET_NAN | number & NAN_NUMBERS, dtype=torch.int32).view(torch.float32)


def run_fake(module: torch.nn.Module, inputs: dict[str, Any]) -> Any:
    """The module's outputs as torch tells their shapes, without computing them."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        return module(**inputs)
