"""A `.pt2` archive (torch.export.save): loaded where nothing in it is pickled, refused where anything is."""

from __future__ import annotations

import io
import json
import zipfile
from typing import TYPE_CHECKING, Any

from edgekit.errors import SourceError
from edgekit.sources.torch_component import DynamicDim, TorchComponent, TorchSource

if TYPE_CHECKING:
    from pathlib import Path

_SAVE_AGAIN = "save it again with torch.export.save of torch 2.9 or later"
_MOST_CONFIG_BYTES = 64 * 2**20
_MOST_INPUT_BYTES = 2**30
# Pickled parts of an archive; sample inputs are the exception that torch.load(weights_only=True) reads.
_CONFIGS = ("_weights_config.json", "_constants_config.json")


def load_archive(path: Path) -> TorchSource:
    """The one program of an archive with its example inputs and open dims.

    SourceError for a file that is damaged, holds pickled weights or constants (loading those would run code
    of whoever wrote the file), several programs, or no example inputs.
    """
    _refuse_pickles(path)
    import torch

    try:
        program = torch.export.load(path)
    except Exception as error:
        raise SourceError(
            f"{path} can't be loaded: {type(error).__name__}: {str(error).splitlines()[0][:300]}",
            fix=_SAVE_AGAIN,
        ) from error
    if program.example_inputs is None:
        raise SourceError(f"{path} holds no example inputs", fix=_SAVE_AGAIN)
    return TorchSource({"model": _component(program, path)})


def _refuse_pickles(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if len({*names}) < len(names):
                raise SourceError(f"{path} holds a member twice", fix=_SAVE_AGAIN)
            configs = [name for name in names if name.endswith(_CONFIGS)]
            if not configs:
                raise SourceError(f"{path} is no .pt2 archive of this format", fix=_SAVE_AGAIN)
            for name in configs:
                if archive.getinfo(name).file_size > _MOST_CONFIG_BYTES:
                    raise SourceError(f"{path}: '{name}' is too large", fix=_SAVE_AGAIN)
                _check_config(json.loads(archive.read(name)), path)
            for name in names:
                if name.endswith((".pt", ".pth", ".pkl")):
                    _check_inputs(name, archive, path)
    except (OSError, zipfile.BadZipFile, ValueError, KeyError, NotImplementedError) as error:
        raise SourceError(
            f"{path} is no .pt2 archive that can be read: {type(error).__name__}: {error}", fix=_SAVE_AGAIN
        ) from error


def _check_inputs(name: str, archive: zipfile.ZipFile, path: Path) -> None:
    """SourceError for a pickled member, unless it is the sample inputs and holds tensors only.

    torch.export.load falls back to full unpickling where loading them safely fails, so that is tried first.
    """
    import torch

    if "/sample_inputs/" not in name or archive.getinfo(name).file_size > _MOST_INPUT_BYTES:
        raise SourceError(f"{path}: '{name}' is pickled", fix=_SAVE_AGAIN)
    try:
        torch.load(io.BytesIO(archive.read(name)), weights_only=True)
    except Exception as error:
        raise SourceError(
            f"{path}: its sample inputs hold more than tensors, and unpickling those runs code",
            fix="export it again with plain tensors as inputs",
        ) from error


def _check_config(config: Any, path: Path) -> None:
    """SourceError for a weight or constant that is anything but raw bytes with a shape."""
    rows = config.get("config") if isinstance(config, dict) else None
    if not isinstance(rows, dict):
        raise SourceError(f"{path}: its list of weights is damaged", fix=_SAVE_AGAIN)
    for name, row in rows.items():
        plain = isinstance(row, dict) and row.get("use_pickle") is False
        raw = plain and str(row.get("path_name", "")).startswith(("weight_", "tensor_"))
        if not raw:
            raise SourceError(
                f"{path}: '{str(name)[:80]}' is pickled, and unpickling runs code of whoever wrote the file",
                fix="make its weights plain contiguous tensors and save it again with torch.export.save",
            )


def _component(program: Any, path: Path) -> TorchComponent:
    import inspect

    import torch

    args, kwargs = program.example_inputs
    module = program.module()
    names = list(inspect.signature(module.forward).parameters)
    inputs = dict(zip(names, args, strict=False)) | dict(kwargs)
    if any(not isinstance(value, torch.Tensor) for value in inputs.values()) or len(args) > len(names):
        raise SourceError(
            f"{path}: its inputs are not tensors by name", fix="give it as package.module:factory"
        )
    dims = _open_dims(program, list(inputs))
    return TorchComponent(module, inputs, dims, program=program)


def _open_dims(program: Any, names: list[str]) -> dict[str, dict[int, DynamicDim]]:
    """Open dims of the program's inputs, with the ranges that it was exported for."""
    import torch

    ranges = {str(symbol): (int(low.lower), low.upper) for symbol, low in program.range_constraints.items()}
    found: dict[str, dict[int, DynamicDim]] = {}
    users = [node for node in program.graph.nodes if node.op == "placeholder"][-len(names) :]
    for name, node in zip(names, users, strict=True):
        for axis, size in enumerate(node.meta["val"].shape):
            if isinstance(size, torch.SymInt):
                low, high = ranges.get(str(size), (1, 2**31))
                end = int(high) if str(high).isdigit() and int(high) < 2**31 else None
                found.setdefault(name, {})[axis] = DynamicDim(str(size), max(low, 1), end)
    return found
