"""Pickles in PyTorch files: what they name is told before anything is loaded, and only trusted ones are."""

from __future__ import annotations

import pickletools
import re
import sys
import zipfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from edgekit.errors import SourceError
from edgekit.sources.torch_component import read_source

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edgekit.sources.torch_component import TorchSource

#: Endings of what torch.save writes.
PICKLED = (".pt", ".pth", ".ckpt", ".bin")
# What holding plain tensors names, in torch's own pickles.
_TENSORS = frozenset(
    {
        "collections.OrderedDict",
        "torch._utils._rebuild_parameter",
        "torch._utils._rebuild_tensor_v2",
        "torch.serialization._get_layout",
    }
)
_STORAGE = re.compile(r"torch\.[A-Za-z0-9]+Storage")
_MOST_PICKLE_BYTES = 256 << 20
_MOST_NAMED = 8
_LONGEST_NAME = 100
# By what torch tells its archives from the older form: a file may be another one by its end.
_ARCHIVE = b"PK\x03\x04"
_BUILD = (
    "build the nn.Module in Python, load the weights there (safetensors, or torch.load with "
    "weights_only=True), and give it as package.module:factory"
)


def load_pickled(path: Path) -> TorchSource:
    """What a factory would return, in a trusted file: `(module, inputs)` or `(module, inputs, dynamic)`.

    SourceError for anything else that torch.save may write: TorchScript, weights alone, a module without
    example inputs.
    """
    refuse_script(path)
    given = unpickle(path)
    if isinstance(given, dict):
        keys = ", ".join(str(name)[:60] for name in list(given)[:_MOST_NAMED])
        raise SourceError(f"{path} holds a table ({keys}) and no module", fix=_BUILD)
    if hasattr(given, "forward"):
        raise SourceError(
            f"{path} holds a module without example inputs",
            fix='save them with it: torch.save((module, {"x": example}), PATH); or ' + _BUILD,
        )
    return read_source(given, f"'{path}'")


def unpickle(path: Path) -> Any:
    """What a trusted file holds: loaded as tensors alone where it is nothing else, in full only where not.

    Classes are found as a factory's are, in the current folder too.
    """
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # noqa: BLE001 - what more than tensors and what is damaged raise; told below
        here = str(Path.cwd())
        if here not in sys.path:
            sys.path.append(here)
    try:
        return torch.load(path, map_location="cpu", weights_only=False)
    except Exception as error:
        raise SourceError(
            f"{path} can't be loaded: {type(error).__name__}: {(str(error).splitlines() or [''])[0][:300]}",
            fix="install what its classes need, or get the file again",
        ) from error


def refuse_pickles(paths: Sequence[Path]) -> None:
    """SourceError with the names that unpickling these files would import and may call."""
    names = sorted({name for path in paths for name in list_names(path)})
    odd = list_odd_names(paths)
    shown = [*odd, *(name for name in names if name not in odd)]
    more = f" and {len(shown) - _MOST_NAMED} more" if len(shown) > _MOST_NAMED else ""
    told = ", ".join(name[:_LONGEST_NAME] for name in shown[:_MOST_NAMED])
    said = f"it names {told}{more}" if names else "its names could not be read"
    raise SourceError(
        f"{paths[0]} is pickled, and unpickling runs code of whoever wrote it: {said}",
        fix="take the model's .safetensors or .pt2 form; or look at these names, and add --trust to `export` "
        "or `convert` where you know who wrote it",
    )


def holds_tensors_alone(path: Path) -> bool:
    """Whether torch loads the file with weights_only=True, which runs nothing of it."""
    from torch.serialization import get_unsafe_globals_in_checkpoint

    try:
        return not get_unsafe_globals_in_checkpoint(path)
    except ValueError:  # the older form, which torch does not look into
        return not list_odd_names([path])


def list_odd_names(paths: Sequence[Path]) -> list[str]:
    """Those of the names that plain tensors do not need."""
    names = sorted({name for path in paths for name in list_names(path)})
    return [name for name in names if name not in _TENSORS and not _STORAGE.fullmatch(name)]


def refuse_script(path: Path) -> None:
    """SourceError for TorchScript, trusted or not."""
    try:
        with zipfile.ZipFile(path) as archive:
            scripted = any(name.split("/", 1)[-1] == "constants.pkl" for name in archive.namelist())
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError):
        return  # an older form, or damaged: told where it is read
    if scripted:
        raise SourceError(f"{path} is TorchScript, which has no export to ONNX any more", fix=_BUILD)


def list_names(path: Path) -> list[str]:
    """Every `module.name` that the pickles in a file name, in their order; nothing is loaded or run.

    A name that is put together while unpickling is told as `?`.
    """
    try:
        with path.open("rb") as file:
            if file.read(len(_ARCHIVE)) != _ARCHIVE:
                file.seek(0)
                return list(dict.fromkeys(_names_of_several(file)))
        found: dict[str, None] = {}
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                if not info.filename.lower().endswith((".pkl", ".pickle")):
                    continue
                if info.file_size > _MOST_PICKLE_BYTES:
                    raise ValueError(f"'{info.filename[:80]}' is too large")
                with archive.open(info) as member:
                    found |= dict.fromkeys(_names(member))
        return list(found)
    except Exception as error:
        raise SourceError(
            f"{path} can't be read as torch.save's: {type(error).__name__}: {str(error)[:200]}",
            fix="get the file again",
        ) from error


def _names_of_several(file: IO[bytes]) -> Iterator[str]:
    """The older form: pickles one after another, then raw storages, which are none."""
    read = False
    while True:
        try:
            yield from _names(file)
            read = True
        except (ValueError, MemoryError):  # raw numbers that read as a text of any length
            if not read:
                raise
            return


def _names(file: IO[bytes]) -> Iterator[str]:
    """The names in one pickle: of GLOBAL and INST in the opcode, of STACK_GLOBAL the two texts before it."""
    texts: list[str] = ["?", "?"]
    memo: dict[int, str] = {}
    for opcode, argument, _ in pickletools.genops(file):
        name = opcode.name
        if name in ("GLOBAL", "INST"):
            yield str(argument).replace(" ", ".", 1)
        elif name == "STACK_GLOBAL":
            yield ".".join(texts[-2:])
        elif "UNICODE" in name or "STRING" in name:
            texts = [*texts[-1:], str(argument)]
        elif name == "MEMOIZE":
            memo[len(memo)] = texts[-1]
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            memo[int(argument or 0)] = texts[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            texts = [*texts[-1:], memo.get(int(argument or 0), "?")]
