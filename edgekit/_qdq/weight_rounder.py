"""Decides once for all targets how weights become integers, and rounds each of them once.

Without samples the plain method serves; with them GPTQ does where it is nearer to float on samples that it
did not see. The integers of one weight in one form are made once, whatever number of targets hold it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import onnx_ir as ir

from edgekit._qdq import gptq
from edgekit._qdq.kept_codes import pack_codes
from edgekit._qdq.round_weights import METHODS, round_weight
from edgekit.passes._rewire import let_go

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgekit._qdq.kept_codes import CodeFile
    from edgekit._qdq.observe_products import Products
    from edgekit._qdq.round_weights import Grouping, RoundedWeight, RoundingMethod
    from edgekit._schemes import WeightBits

METHOD_WORDS: dict[RoundingMethod, str] = {**METHODS, "gptq": gptq.METHOD}


@dataclass(frozen=True)
class KeptWeight:
    """One weight's integers (two int4 to a byte) and scales, and in words how far they are from it."""

    codes: ir.TensorProtocol
    scales: NDArray[np.float32]
    words: str

    def tensor(self, name: str) -> ir.TensorProtocol:
        """The codes under a name; models that hold them share the data."""
        shape = ir.Shape(self.codes.shape.numpy())
        if isinstance(self.codes, ir.ExternalTensor):
            place = self.codes.location, self.codes.offset, self.codes.length, self.codes.dtype
            return ir.ExternalTensor(*place, shape=shape, name=name, base_dir=self.codes.base_dir)
        if isinstance(self.codes, ir.PackedTensor):
            return ir.PackedTensor(self.codes.raw, self.codes.dtype, shape=shape, name=name)
        return ir.tensor(self.codes.numpy(), name=name)


@dataclass(frozen=True)
class WeightRounder:
    """One method for one model's weights; `products` is what gptq knows of the samples.

    block: how many int4 weights share a scale; 0: all of a channel. file: where the codes of a model too
    large for memory go as they are made.
    """

    method: RoundingMethod = "rtn"
    block: int = 32
    products: Products | None = None
    file: CodeFile | None = None
    made: dict[tuple[str, WeightBits, Grouping], KeptWeight] = field(default_factory=dict, repr=False)

    def round(self, weight: ir.Value, bits: WeightBits, grouping: Grouping) -> KeptWeight:
        """The weight's codes and scales, made once; ModelError where it is not finite."""
        key = str(weight.name), bits, grouping
        if key not in self.made:
            rounded = self._round(weight, bits, grouping)
            codes = pack_codes(rounded.codes, bits)
            kept = codes if self.file is None else self.file.keep(codes)
            self.made[key] = KeptWeight(kept, rounded.scales, _errors(rounded))
        return self.made[key]

    def _round(self, weight: ir.Value, bits: WeightBits, grouping: Grouping) -> RoundedWeight:
        assert weight.const_value is not None
        array, hessian = weight.const_value.numpy(), None
        if self.method == "gptq" and self.products is not None and array.ndim == 2:
            hessian = self.products.of(str(weight.name))
        try:
            if hessian is not None and len(hessian) == array.shape[grouping.summed]:
                return gptq.gptq_weight(array, hessian, bits, grouping)
            return round_weight(array, bits, grouping, method="hqq" if self.method == "hqq" else "rtn")
        finally:
            del array
            let_go(weight.const_value)


def _errors(rounded: RoundedWeight) -> str:
    """SQNR of the weight, and of its product with the samples' data where those took part."""
    if rounded.product_db is None:
        return f"{rounded.sqnr_db:.1f} dB"
    return f"{rounded.method}, {rounded.sqnr_db:.1f} dB, {rounded.product_db:.1f} dB in the product"
