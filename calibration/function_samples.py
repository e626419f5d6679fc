"""Samples that a Python function makes; named as `module:function` or given as a callable."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.calibration.fit_sample import fit_sample
from edgekit.calibration.samples import Sample, Samples
from edgekit.calibration.settings import get_count
from edgekit.errors import EdgekitError, SamplesError
from edgekit.sources.import_named import import_named

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from edgekit._values import TensorInfo


def find_function(text: str) -> Callable[[], Any]:
    """The function that `module:function` names, imported from sys.path or the current folder."""
    try:
        found = import_named(text)
    except Exception as error:
        raise SamplesError(
            f"function '{text}' cannot be imported: {type(error).__name__}: {error}",
            fix="name a function of a module that lies in the current folder or is installed",
        ) from error
    if not callable(found):
        raise SamplesError(
            f"'{text}' is no function", fix="name a function that returns an iterable of samples"
        )
    return found  # type: ignore[no-any-return]  # any callable serves


def find_module_file(text: str) -> Path | None:
    """The source file of the module in `module:function`; None where it has none."""
    find_function(text)
    origin = getattr(sys.modules[text.partition(":")[0]], "__file__", None)
    return None if origin is None else Path(origin)


def load_function(function: Callable[[], Any], inputs: Sequence[TensorInfo], limit: int | None) -> Samples:
    """Samples from `function()`, an iterable of dicts by input name (or of arrays, for one input).

    The function runs once here, to count and digest what it gives, and once for every later reading. One
    that gives other samples the next time raises SamplesError, for no record could be trusted then.
    """
    label = f"{getattr(function, '__module__', '?')}:{getattr(function, '__name__', type(function).__name__)}"
    digests = [_digest(sample) for sample in _read(function, label, inputs, limit)]
    if not digests:
        raise SamplesError(f"{label} gave no samples", fix="return an iterable with at least one sample")

    def read_all() -> Iterator[Sample]:
        index = -1
        for index, sample in enumerate(_read(function, label, inputs, limit)):
            if index >= len(digests) or _digest(sample) != digests[index]:
                raise _changed(label, index)
            yield sample
        if index + 1 != len(digests):
            raise _changed(label, index + 1)

    return Samples(
        digest=hashlib.sha256(b"function\0" + b"".join(digests)).hexdigest(),
        kind="real",
        description=f"{len(digests)} samples of {label}",
        count=len(digests),
        read=read_all,
    )


def _read(
    function: Callable[[], Any], label: str, inputs: Sequence[TensorInfo], limit: int | None
) -> Iterator[Sample]:
    cap = get_count("samples", "callable_samples")
    try:
        for index, item in enumerate(islice(function(), limit)):
            if index >= cap:
                raise SamplesError(
                    f"{label} gives more than {cap} samples", fix="take the first with --limit"
                )
            yield _to_sample(f"{label}[{index}]", item, inputs)
    except EdgekitError:
        raise
    except Exception as error:
        raise SamplesError(
            f"{label} failed: {type(error).__name__}: {error}",
            fix="it takes no arguments and returns an iterable of samples; run it by itself",
        ) from error


def _to_sample(name: str, item: object, inputs: Sequence[TensorInfo]) -> Sample:
    if not isinstance(item, Mapping):
        if len(inputs) != 1:
            raise SamplesError(
                f"sample '{name}' is one {type(item).__name__}, the model has {len(inputs)} inputs",
                fix="yield dicts by input name",
            )
        item = {inputs[0].name: item}
    return Sample(name, fit_sample(name, {str(key): np.asarray(item[key]) for key in item}, inputs))


def _digest(sample: Sample) -> bytes:
    total = hashlib.sha256()
    for key, array in sorted(sample.feeds.items()):
        total.update(f"{key}\0{array.dtype.str}\0{array.shape}\0".encode())
        total.update(array.tobytes())
    return total.digest()


def _changed(label: str, index: int) -> SamplesError:
    return SamplesError(
        f"{label} gave another sample {index} than the first time",
        fix="seed its random numbers inside the function",
    )
