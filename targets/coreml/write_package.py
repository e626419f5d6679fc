"""A MIL program -> the .mlpackage folder; the same program always gives the same bytes."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import logging
import shutil
import warnings
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.errors import MissingToolError, TargetError
from edgekit.targets.coreml.write_program import opset_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from edgekit._schemes import Compute

_AUTHOR = "com.apple.CoreML"
_MODEL = f"{_AUTHOR}/model.mlmodel"
_WEIGHTS = f"{_AUTHOR}/weights"
# Passes of coremltools' default pipeline that rewrite scales or quantized patterns; the record's must stay.
_LEFT_OUT = (
    "common::dequantize_quantize_pair_elimination",
    "common::dequantize_to_constexpr",
    "common::distributive_quantized_binary_op_scale_normalization",
    "common::int_op_canonicalization",
    "common::merge_affine_dequantize_with_consecutive_ops",
    "common::nullify_redundant_quantization_zero_point",
)
# Written by coremltools, and different from day to day.
_VOLATILE = ("com.github.apple.coremltools.conversion_date",)


def lower_program(program: Any, level: int, compute: Compute, inputs: list[Any] | None = None) -> Any:
    """coremltools' model of a program: its passes run, in fp16 or fp32; inputs and outputs stay as declared.

    `inputs` are coremltools' input types, where some input has no fixed shape.

    TargetError where coremltools refuses the program.
    """
    import coremltools

    pipeline: Any = coremltools.PassPipeline.DEFAULT
    pipeline.remove_passes(_LEFT_OUT)
    precision = coremltools.precision.FLOAT16 if compute == "fp16" else coremltools.precision.FLOAT32
    with quiet():
        try:
            return coremltools.convert(
                program,
                convert_to="mlprogram",
                inputs=inputs,
                minimum_deployment_target=opset_of(level),
                compute_precision=precision,
                pass_pipeline=pipeline,
                skip_model_load=True,
            )
        except (ValueError, TypeError, RuntimeError, AssertionError, NotImplementedError) as error:
            raise TargetError(
                f"coremltools refuses the program: {str(error)[:300]}",
                fix="report this as a defect of edgekit, with the model",
            ) from error


def write_package(model: Any, package: Path, metadata: Mapping[str, str]) -> tuple[str, ...]:
    """Write coremltools' model to the folder `package`; its files, relative to the folder it lies in."""
    spec = model.get_spec()
    user = spec.description.metadata.userDefined
    for key in _VOLATILE:
        user.pop(key, None)
    user.update(metadata)
    data = package / "Data"
    (data / _AUTHOR).mkdir(parents=True)
    (data / _MODEL).write_bytes(spec.SerializeToString(deterministic=True))
    weights = Path(model.weights_dir) if model.weights_dir else None
    if weights is not None and weights.is_dir():
        shutil.copytree(weights, data / _WEIGHTS)
    else:
        (data / _WEIGHTS).mkdir()
    (package / "Manifest.json").write_text(_manifest(data), encoding="utf-8")
    return tuple(
        sorted(file.relative_to(package.parent).as_posix() for file in package.rglob("*") if file.is_file())
    )


def _manifest(data: Path) -> str:
    """The package's table of contents; ids follow from what they name, where Apple's tools draw them."""
    identifiers = {path: _identifier(data / path) for path in (_MODEL, _WEIGHTS)}
    entries = {
        identifiers[_MODEL]: {
            "author": _AUTHOR,
            "description": "CoreML Model Specification",
            "name": "model.mlmodel",
            "path": _MODEL,
        },
        identifiers[_WEIGHTS]: {
            "author": _AUTHOR,
            "description": "CoreML Model Weights",
            "name": "weights",
            "path": _WEIGHTS,
        },
    }
    content = {
        "fileFormatVersion": "1.0.0",
        "itemInfoEntries": dict(sorted(entries.items())),
        "rootModelIdentifier": identifiers[_MODEL],
    }
    return json.dumps(content, indent=4) + "\n"


def _identifier(path: Path) -> str:
    """A UUID's form, made of the content's hash."""
    digest = hashlib.sha256(path.name.encode())
    for file in [path] if path.is_file() else sorted(path.rglob("*")):
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    word = digest.hexdigest().upper()
    return "-".join((word[:8], word[8:12], word[12:16], word[16:20], word[20:32]))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """coremltools' words about not being on a Mac and its progress bars are no output of edgekit's."""
    logger = logging.getLogger("coremltools")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def require_coremltools() -> None:
    """MissingToolError where coremltools, or the part of it that writes weights, is not installed."""
    try:
        with quiet():
            import_module("coremltools.libmilstoragepython")
    except ImportError as error:
        raise MissingToolError(
            f"coremltools cannot write packages here ({error})", fix='pip install "coremltools>=9.0"'
        ) from error
