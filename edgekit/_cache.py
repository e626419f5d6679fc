"""The content-addressed cache: what a stage made from these inputs with these tools, found again by hash."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, is_dataclass
from functools import cache as remember
from glob import glob
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

LAYOUT = "v1"
TOOLS = ("edgekit", "numpy", "onnx", "onnx-ir", "onnxruntime", "onnxscript", "pillow")
DEFAULT_MAX_BYTES = 10_000_000_000  # a few hundred converts of phone-sized models; far below a laptop's disk
GRACE_SECONDS = 600.0  # an entry used this recently may be open in a run beside this one: never evicted
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS})
STALE_SECONDS = 86_400.0  # a temporary folder this old was left by a killed run


def key(*parts: object) -> str:
    """Sha256 (hex) of the parts' canonical JSON.

    Takes JSON values, mappings with str keys, tuples, sets, bytes and dataclasses. Anything else,
    a path or NaN among them, raises TypeError or ValueError: a key names content, never a place.
    """
    text = json.dumps(
        [_plain(part) for part in parts], sort_keys=True, separators=(",", ":"), allow_nan=False
    )
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: object) -> object:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, bytes):
        return {"bytes": hashlib.sha256(value).hexdigest()}
    if is_dataclass(value) and not isinstance(value, type):
        return {type(value).__name__: _plain(asdict(value))}
    if isinstance(value, Mapping):
        if not all(isinstance(name, str) for name in value):
            raise TypeError("a cache key's mapping needs str keys")
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return {"set": sorted(json.dumps(_plain(item), sort_keys=True) for item in value)}
    raise TypeError(f"{type(value).__name__} cannot be part of a cache key")


def tool_versions(own: Sequence[str] = ()) -> dict[str, str]:
    """Installed version of edgekit and of each tool that shapes its results; imports none of them.

    own: a target's toolchain, of which only what is installed is told.
    """
    versions: dict[str, str] = dict.fromkeys(TOOLS, "missing")
    for name in (*TOOLS, *own):
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions


@remember
def code_digest() -> str:
    """Sha256 (hex) of edgekit's own files, so that an edited checkout never reads its old results."""
    digest = hashlib.sha256()
    root = Path(__file__).parent
    for folder, names, files in os.walk(root, followlinks=True):
        names[:] = sorted(name for name in names if name != "__pycache__")
        for name in sorted(files):
            path = Path(folder, name)
            digest.update(f"{path.relative_to(root)}\0{path.stat().st_size}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def default_root() -> Path:
    """EDGEKIT_CACHE, else $XDG_CACHE_HOME/edgekit, else ~/.cache/edgekit."""
    own = os.environ.get("EDGEKIT_CACHE")
    if own:
        return Path(own).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base).expanduser() if base else Path.home() / ".cache") / "edgekit"


@dataclass(frozen=True)
class Cache:
    """Entries by stage and key under `root`; `salt` stands for the tools that made them."""

    root: Path
    salt: str
    max_bytes: int = DEFAULT_MAX_BYTES

    def folder(self, stage: str, entry_key: str, make: Callable[[Path], None]) -> Path:
        """The entry's folder; on a miss `make(folder)` fills an empty one, which is then kept.

        An exception of `make` leaves no entry. The folder is read-only by agreement.
        """
        found = self.get(stage, entry_key)
        if found is not None:
            return found
        temporary = self._temporary()
        try:
            (temporary / "data").mkdir(parents=True)
            make(temporary / "data")
            return self._keep(stage, entry_key, temporary)
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            raise OutputError(
                f"the cache at '{self.root}' cannot take stage '{stage}' ({error.strerror})",
                fix="make room there, name another folder in EDGEKIT_CACHE, or use --no-cache",
            ) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def get(self, stage: str, entry_key: str) -> Path | None:
        """The entry's folder if it is whole, else None; an entry with a changed byte is dropped."""
        entry = self._entry(stage, entry_key)
        if not entry.exists():
            return None
        try:
            intact = _listing(entry / "data") == json.loads((entry / "entry.json").read_text())["files"]
        except (OSError, ValueError, KeyError, TypeError):
            intact = False
        if not intact:
            _drop(entry)
            return None
        os.utime(entry / "entry.json")
        return entry / "data"

    def put(self, stage: str, entry_key: str, source: Path) -> Path:
        """Keep a copy of a file (under its own name) or of a folder's content; returns the entry's folder."""

        def copy(folder: Path) -> None:
            if source.is_dir():
                shutil.copytree(source, folder, dirs_exist_ok=True)
            else:
                shutil.copy2(source, folder / source.name)

        return self.folder(stage, entry_key, copy)

    def scratch(self) -> Path:
        """A new folder beside the entries, for its maker to remove; what a killed run left goes later."""
        folder = self._temporary()
        folder.mkdir(parents=True)
        return folder

    def size(self) -> int:
        """Bytes in all entries."""
        return sum(size for _, size, _ in self._entries())

    def _entry(self, stage: str, entry_key: str) -> Path:
        return self.root / LAYOUT / stage / key(self.salt, entry_key)

    def _temporary(self) -> Path:
        return self.root / LAYOUT / f".tmp-{uuid.uuid4().hex}"

    def _keep(self, stage: str, entry_key: str, temporary: Path) -> Path:
        files = _listing(temporary / "data")
        size = sum(int(item["size"]) for item in files.values())
        (temporary / "entry.json").write_text(json.dumps({"files": files, "size": size}))
        entry = self._entry(stage, entry_key)
        entry.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.rename(entry)
        except OSError:
            if self.get(stage, entry_key) is None:  # not a run beside this one that was quicker
                temporary.rename(entry)
        self._evict()
        return entry / "data"

    def _entries(self) -> list[tuple[float, int, Path]]:
        """(last use, bytes, folder) of each entry, the least recently used first."""
        found = []
        # The glob module passes over hidden (temporary) folders and those that go while it walks.
        for name in glob(f"{LAYOUT}/*/*/entry.json", root_dir=self.root):  # noqa: PTH207 - see above
            mark = self.root / name
            try:
                found.append((mark.stat().st_mtime, int(json.loads(mark.read_text())["size"]), mark.parent))
            except (OSError, ValueError, KeyError, TypeError):
                continue  # being dropped or damaged: `get` deals with it
        return sorted(found)

    def _evict(self) -> None:
        now = time.time()
        entries = self._entries()
        total = sum(size for _, size, _ in entries)
        for used, size, entry in entries:
            if total <= self.max_bytes or now - used < GRACE_SECONDS:
                break
            _drop(entry)
            total -= size
        for left in (self.root / LAYOUT).glob(".tmp-*"):
            with suppress(FileNotFoundError):  # a run beside this one has put its entry in place
                if now - left.stat().st_mtime > STALE_SECONDS:
                    shutil.rmtree(left, ignore_errors=True)


@contextmanager
def open_cache(where: str | None = None) -> Iterator[Cache]:
    """The cache at `where` (None: `default_root()`); "off" gives an empty one that is removed at the end."""
    salt = key(tool_versions(), code_digest())
    if where == "off":
        with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
            yield Cache(Path(folder), salt)
        return
    root = Path(where).expanduser() if where else default_root()
    try:
        (root / LAYOUT).mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root / LAYOUT):
            pass
    except OSError as error:
        raise OutputError(
            f"the cache folder '{root}' cannot be written ({error.strerror})",
            fix="name another one in EDGEKIT_CACHE, or go without it: --no-cache",
        ) from error
    yield Cache(root, salt)


def _listing(folder: Path) -> dict[str, dict[str, str | int]]:
    """Relative path -> size and sha256 of every file below; a link or special file is a ValueError."""
    files: dict[str, dict[str, str | int]] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise ValueError(f"'{path}' is no plain file")
        if path.is_file():
            with path.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            name = path.relative_to(folder).as_posix()
            files[name] = {"size": path.stat().st_size, "sha256": digest}
    return files


def _drop(entry: Path) -> None:
    """Remove an entry: out of sight in one rename, then deleted."""
    gone = entry.parent.parent / f".tmp-{uuid.uuid4().hex}"
    try:
        entry.rename(gone)
    except OSError:
        return  # a run beside this one dropped it first
    shutil.rmtree(gone, ignore_errors=True)
