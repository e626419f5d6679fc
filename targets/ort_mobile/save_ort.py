"""One model file -> .ort in the Fixed and Runtime styles, and the operator lists for a reduced build."""

from __future__ import annotations

import json
import logging
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.errors import ModelError
from edgekit.targets.ort_mobile.ort_tools import import_tools
from edgekit.targets.ort_mobile.write_ort import canonical_ort

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from edgekit._values import Precision

# The NCHWc layout is made for this host's x86 and does not run on ARM.
_HOST_ONLY = ["NchwcTransformer"]
# Rewrites that change what a Q/DQ graph says; without them the file gives the reference's numbers.
_AGAINST_INT8 = [
    # MatMul + Add between DQ and Q becomes a float Gemm before the integer kernels are chosen.
    "MatMulAddFusion",
    # Float weights and biases between DQ and Q are quantized by the runtime, without being asked.
    "WeightBiasQuantization",
    # Two Q/DQ pairs of different scales in a row become one (up to 2 steps off).
    "DoubleQDQPairsRemover",
]
_STYLE: dict[str, dict[str, str]] = {
    "fixed": {},
    "runtime": {"optimization.minimal_build_optimizations": "save"},
    "replayed": {"optimization.minimal_build_optimizations": "apply"},
}


def save_styles(
    model: Path, out: Path, stem: str, precision: Precision, *, also: Sequence[Path] = ()
) -> tuple[str, ...]:
    """Write `<stem>.ort`, `<stem>.with_runtime_opt.ort` and both operator lists into `out`.

    also: .ort files whose operators the lists hold too. Returns the file names, the Fixed .ort first. Raises
    ModelError with onnxruntime's words when it cannot hold the model.
    """
    fixed, runtime = out / f"{stem}.ort", out / f"{stem}.with_runtime_opt.ort"
    with tempfile.TemporaryDirectory() as scratch:
        # What runs where the saved optimizations are replayed: its ops belong into the reduced build too.
        replayed = Path(scratch) / "replayed.ort"
        save_ort(model, fixed, settings=_STYLE["fixed"], precision=precision)
        save_ort(model, runtime, settings=_STYLE["runtime"], precision=precision)
        _optimize(model, replayed, settings=_STYLE["replayed"], precision=precision)
        configs = _write_configs([fixed, runtime, *also, replayed], out, stem)
    return (fixed.name, runtime.name, *configs)


def save_ort(model: Path, path: Path, *, settings: Mapping[str, str], precision: Precision) -> None:
    """Optimize for an ARM CPU and write one .ort file, in canonical order."""
    _optimize(model, path, settings=settings, precision=precision)
    path.write_bytes(canonical_ort(path.read_bytes()))


def _optimize(model: Path, path: Path, *, settings: Mapping[str, str], precision: Precision) -> None:
    """The .ort file as onnxruntime writes it, its tables in an order that changes between runs."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.optimized_model_filepath = str(path)
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    # int8 kernels for signed activations, which is what an ARM build does by default.
    options.add_session_config_entry("session.qdqisint8allowed", "1")
    options.add_session_config_entry("session.save_model_format", "ORT")
    for key, value in settings.items():
        options.add_session_config_entry(key, value)
    disabled = _HOST_ONLY + (_AGAINST_INT8 if precision == "int8" else [])
    try:
        ort.InferenceSession(
            str(model), options, providers=["CPUExecutionProvider"], disabled_optimizers=disabled
        )
    except Exception as error:
        raise ModelError(
            f"onnxruntime {ort.__version__} cannot hold the model: {_one_line(error, model)}",
            fix="run `edgekit check` to see which node it is",
        ) from error


def _write_configs(models: list[Path], out: Path, stem: str) -> tuple[str, str]:
    """The operator lists of a reduced build; onnxruntime's helper, without the host's paths."""
    plain, typed = (
        out / f"{stem}.{name}.config" for name in ("required_operators", "required_operators_and_types")
    )
    _config_helper()(models, typed, True)
    lines = typed.read_text(encoding="utf-8").splitlines()
    entries = [line for line in lines if not line.startswith("#")]
    header = f"# Operators of {', '.join(model.name for model in models[:-1])}"
    # The helper reads every file anew for each list, and the shorter one is the longer without its types.
    for path, rows in ((plain, map(_without_types, entries)), (typed, entries)):
        path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return plain.name, typed.name


def _without_types(entry: str) -> str:
    """`domain;opset;Op{JSON},...` without the JSON objects."""
    kept, start = "", entry.find("{")
    while start >= 0:
        _, end = json.JSONDecoder().raw_decode(entry, start)
        kept, entry = kept + entry[:start], entry[end:]
        start = entry.find("{")
    return kept + entry


def _config_helper() -> Callable[[list[Path], Path, bool], None]:
    """onnxruntime's writer of operator lists; on import it installs a root log handler, taken off again."""
    root = logging.getLogger()
    handlers = list(root.handlers)
    tools = import_tools("ort_format_model")
    root.handlers[:] = handlers
    logging.getLogger("ort_format_model.utils").setLevel(logging.WARNING)
    write: Callable[[list[Path], Path, bool], None] = tools.create_config_from_models
    return write


def _one_line(error: Exception, model: Path) -> str:
    text = str(error).replace(str(model), model.name)
    return re.sub(r"\s+", " ", text)[:400]
