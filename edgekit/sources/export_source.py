"""A PyTorch or Hugging Face source as a folder of ONNX files, proven against its modules."""

from __future__ import annotations

import atexit
import hashlib
import shutil
import tempfile
from dataclasses import replace
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypedDict

from edgekit._cache import key, open_cache
from edgekit.errors import MissingToolError, OutputError, SourceError, UsageError
from edgekit.sources.pickled import PICKLED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgekit._values import Progress
    from edgekit.sources.torch_component import TorchComponent, TorchSource

SCENARIO = "scenario.toml"
PLAIN = "model"  # the name of the only component of a source without a scenario
_ARCHIVES = (".pt2",)
# Packages that shape an export, beside those of every cache entry.
_TOOLS = ("torch", "transformers")
# What an ONNX file of a source holds of its weights: all in itself, in files it shares, or shapes alone.
_Form = Literal["own", "shared", "none"]
WEIGHTS = ".safetensors"
_ROOM = 1.2  # of the weights' bytes: graphs and what the disk rounds up


def needs_export(model: Path) -> bool:
    """Whether a model is something else than ONNX: a factory, a torch file, a Hugging Face folder or id."""
    from edgekit.sources.hf_folder import is_hf_id
    from edgekit.sources.torch_factory import is_factory

    if model.is_dir():
        return (model / "config.json").is_file() and not (model / SCENARIO).exists()
    if model.exists():
        return model.suffix in (*_ARCHIVES, *PICKLED)
    return is_factory(str(model)) or is_hf_id(str(model))


def export_key(model: Path, *, shape_only: bool = False) -> str | None:
    """Of the content that an export follows from; None where that can't be told (a factory's code)."""
    from edgekit.sources.hf_folder import list_hf_files
    from edgekit.sources.torch_factory import is_factory

    if is_factory(str(model)) and not model.exists():
        return None
    files = [place := _locate(model, shape_only=shape_only)]
    if place.is_dir():
        weights = (WEIGHTS, *PICKLED) if shape_only else ()
        files = [file for file in list_hf_files(place) if file.suffix not in weights]
    digests = [(file.name, _digest(file)) for file in files]
    return key("export", digests, {name: _version(name) for name in _TOOLS}, shape_only)


def _locate(model: Path, *, shape_only: bool = False) -> Path:
    """The file or folder of a source that is no factory; that of an id lies in Hugging Face's cache."""
    from edgekit.sources.hf_folder import is_hf_id, locate_hf

    if model.exists() or not is_hf_id(str(model)):
        return model
    return locate_hf(str(model), shape_only=shape_only)


def open_export(model: Path, cache: str | None, *, shape_only: bool = False, trusted: bool = False) -> Path:
    """The exported source in the cache: its only ONNX file, or its folder with a scenario.

    shape_only: the weights are neither read nor written. trusted: pickles of the source may be loaded.

    A factory's code can't be told by content, so it is exported each time, to a folder that goes with this
    process; so is everything with the cache off.
    """
    if not trusted and not shape_only:
        _refuse_pickles(model)
    entry = export_key(model, shape_only=shape_only) if cache != "off" else None
    if entry is None:
        folder = Path(tempfile.mkdtemp(prefix="edgekit-export-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        export_source(model, folder, shape_only=shape_only, trusted=trusted)
    else:
        with open_cache(cache) as opened:
            folder = opened.folder(
                "export",
                entry,
                lambda made: export_source(model, made, shape_only=shape_only, trusted=trusted),
            )
    return folder if (folder / SCENARIO).exists() else folder / f"{PLAIN}.onnx"


def _refuse_pickles(model: Path) -> None:
    """What a cache holds of a source that was trusted once is no reason to trust it again."""
    from edgekit.sources.hf_folder import list_pickles
    from edgekit.sources.pickled import refuse_pickles, refuse_script

    place = _locate(model)
    if place.is_file() and place.suffix in PICKLED:
        refuse_script(place)
        refuse_pickles([place])
    if place.is_dir() and (pickles := list_pickles(place)):
        refuse_pickles(pickles)


def export_source(model: Path, folder: Path, *, shape_only: bool = False, trusted: bool = False) -> None:
    """Write `model.onnx`, or an ONNX file a component with weights they share once and scenario.toml.

    Every file is run in ONNX Runtime beside its module on two sets of inputs and two lengths of each open
    dim. Raises SourceError, ModelError; OutputError where the disk has no room, before the work.
    shape_only: weights are neither read nor written, and nothing is run. trusted: as in `load_torch`.
    """
    export_components(load_torch(model, shape_only=shape_only, trusted=trusted), folder, str(model))


def export_components(
    source: TorchSource, folder: Path, label: str, progress: Progress | None = None
) -> None:
    """`export_source` of modules that are in memory; `label` is what errors call them."""
    if not source.shape_only:
        _check_room(source, folder)
    for name, component in source.components.items():
        if progress is not None:
            progress(f"export {name}", 0, None)
        what = f"'{label}'" if len(source.components) == 1 else f"component '{name}' of '{label}'"
        form: _Form = "own" if len(source.components) == 1 else "shared"
        form = "none" if source.shape_only else form
        _export(component, folder / f"{name}.onnx", what, form, source.seed)
    if source.scenario:
        (folder / SCENARIO).write_text(source.scenario, encoding="utf-8")


class ExportWords(TypedDict, total=False):
    """How to export.

    shape_only: weights are neither read nor written. random_weights: a seed; the same, and a convert draws
    them with it. trusted: pickles of the source may be loaded.
    """

    shape_only: bool
    random_weights: int | None
    trusted: bool


def export_to(model: Path, folder: Path, progress: Progress, words: ExportWords) -> Path:
    """`export_source` into a folder that appears when it is whole; returns the folder.

    OutputError where something of that name exists; UsageError for what is ONNX already.
    """
    seed = words.get("random_weights")
    hollow = words.get("shape_only", False) or seed is not None
    if not needs_export(model):
        raise UsageError(
            f"'{model}' needs no export, or there is no such model",
            fix="give a .pt2 file, a Hugging Face folder or id, or package.module:factory",
        )
    if folder.exists():
        raise OutputError(f"'{folder}' exists", fix="name another folder with -o")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".edgekit-export-", dir=folder.parent) as place:
            made = Path(place) / "made"
            made.mkdir()
            loaded = load_torch(model, shape_only=hollow, trusted=words.get("trusted", False))
            source = replace(loaded, seed=seed)
            export_components(source, made, str(model), progress)
            made.rename(folder)
    except OSError as error:
        raise OutputError(
            f"'{folder}' can't be written ({error.strerror})", fix="name another folder with -o"
        ) from error
    return folder


def load_torch(model: Path, *, shape_only: bool = False, trusted: bool = False) -> TorchSource:
    """The modules of a source, loaded and with example inputs; pickles of it only where it is trusted."""
    from edgekit.sources.hf_folder import load_hf
    from edgekit.sources.pickled import load_pickled
    from edgekit.sources.torch_archive import load_archive
    from edgekit.sources.torch_factory import call_factory, is_factory

    if model.is_file() and model.suffix in PICKLED and not trusted:
        _refuse_pickles(model)
    if find_spec("torch") is None:
        raise MissingToolError(f"'{model}' needs PyTorch", fix="pip install torch==2.13.0")
    place = _locate(model, shape_only=shape_only)
    if place.is_dir():
        return load_hf(place, shape_only=shape_only, trusted=trusted)
    if model.is_file() and model.suffix in PICKLED:
        return load_pickled(model)
    if model.is_file():
        return load_archive(model)
    if is_factory(str(model)):
        return call_factory(str(model), shape_only=shape_only)
    raise SourceError(
        f"there is no model '{model}'",
        fix="give an .onnx or .pt2 file, a folder, a Hugging Face id, or package.module:factory",
    )


def _export(component: TorchComponent, path: Path, label: str, weights: _Form, seed: int | None) -> None:
    """Export one component and prove it; without weights there is nothing to prove."""
    from edgekit.passes.serialize_model import save_model, save_sharing
    from edgekit.sources.export_hollow import export_hollow
    from edgekit.sources.export_torch import export_torch
    from edgekit.sources.prove_export import prove_export
    from edgekit.sources.shape_only import SEED, save_shape_only

    if weights == "none":
        model = export_hollow(component, label)
        if seed is not None:
            model.metadata_props[SEED] = str(seed)
        save_shape_only(model, path)
        return
    model = export_torch(component, label)
    if weights == "shared":
        save_sharing(model, path)
    else:
        save_model(model, path)
    prove_export(path, component, label)


def _check_room(source: TorchSource, folder: Path) -> None:
    """OutputError where the weights do not fit on the disk, each counted once."""
    sizes: Mapping[int, int] = {
        tensor.data_ptr(): tensor.nbytes
        for component in source.components.values()
        for tensor in (*component.module.parameters(), *component.module.buffers())
    }
    needed, free = int(_ROOM * sum(sizes.values())), shutil.disk_usage(folder).free
    if needed > free:
        raise OutputError(
            f"the weights take {needed / 1e9:.1f} GB, '{folder.parent}' has {free / 1e9:.1f} GB",
            fix="make room there, or name another folder (-o, or EDGEKIT_CACHE for the cache)",
        )


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "missing"
