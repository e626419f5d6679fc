"""One bundle as one file: the same bytes for the same bundle, and unpacked without trusting it."""

from __future__ import annotations

import gzip
import shutil
import stat
import tarfile
import zipfile
import zlib
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, NoReturn, cast

from edgekit._bundle.manifest import parse_manifest
from edgekit._bundle.names import MANIFEST, check_names
from edgekit.errors import BundleError, OutputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from edgekit._bundle.limits import Limits
    from edgekit._bundle.manifest import Json

_CHUNK = 1 << 20
# A tar header block read by `tarfile` itself (long names, pax records) needs far less.
_LARGEST_READ = 4 << 20
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)
_PLAIN, _EXECUTABLE = 0o644, 0o755
_PACK = "pack the bundle with `edgekit convert --archive`"


def is_archive(path: Path) -> bool:
    """Whether the path is a file (an archive) and not a folder; BundleError when it is neither."""
    if path.is_dir():
        return False
    if path.is_file():
        return True
    raise BundleError(f"'{path}' is no bundle folder and no archive", fix="give a folder, .tar.gz or .zip")


def pack_archive(folder: Path, target: Path, manifest: Json) -> None:
    """Write a checked bundle folder as `.tar.gz` or `.zip`: manifest first, the rest sorted, times fixed.

    `target` must not exist. UsageError for another ending; OutputError when it cannot be written.
    """
    files = manifest["files"]
    prefix = str(manifest["device"]["name"])
    modes = {name: _EXECUTABLE if row["executable"] else _PLAIN for name, row in files.items()}
    members = [(MANIFEST, _PLAIN), *sorted(modes.items())]
    pack = _pack_zip if archive_ending(target) == ".zip" else _pack_tar
    check_names(f"{prefix}/{name}" for name, _ in members)
    try:
        with target.open("xb") as out:
            pack(folder, prefix, members, out)
    except OSError as error:
        raise OutputError(
            f"archive '{target}' cannot be written: {error.strerror or error}",
            fix="choose a folder with room and the right to write",
        ) from error


def archive_ending(path: Path) -> str:
    """`.tar.gz` or `.zip`; UsageError for anything else."""
    for ending in (".tar.gz", ".zip"):
        if path.name.endswith(ending):
            return ending
    raise UsageError(f"archive '{path.name}' ends with neither .tar.gz nor .zip", fix="choose one of the two")


def _pack_tar(folder: Path, prefix: str, members: list[tuple[str, int]], out: IO[bytes]) -> None:
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=out, mtime=0, compresslevel=6) as squeezed,
        tarfile.open(fileobj=squeezed, mode="w", format=tarfile.GNU_FORMAT) as tar,
    ):
        for name, mode in members:
            member = tarfile.TarInfo(f"{prefix}/{name}")
            member.size, member.mode, member.mtime = (folder / name).stat().st_size, mode, 0
            with (folder / name).open("rb") as file:
                tar.addfile(member, file)


def _pack_zip(folder: Path, prefix: str, members: list[tuple[str, int]], out: IO[bytes]) -> None:
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name, mode in members:
            member = zipfile.ZipInfo(f"{prefix}/{name}", _ZIP_EPOCH)
            member.compress_type, member.create_system = zipfile.ZIP_DEFLATED, 3
            member.external_attr = (stat.S_IFREG | mode) << 16
            member.file_size = (folder / name).stat().st_size
            with (folder / name).open("rb") as file, archive.open(member, "w") as entry:
                shutil.copyfileobj(file, entry, _CHUNK)


class _Member:
    """One archive member: its name as stored, declared size, and a way to read it."""

    def __init__(self, name: str, size: int, stream: IO[bytes]) -> None:
        self.name, self.size, self.stream = name, size, stream


def unpack_archive(archive: Path, folder: Path, limits: Limits) -> None:
    """Unpack into an empty folder only what the archive's manifest names, each at its declared size.

    BundleError for links, special members, names that climb out, a second copy of a name, members
    the manifest lacks, and more bytes than `limits` allow for the archive's size.
    """
    try:
        with _members(archive) as members:
            _unpack(members, folder, limits.unpacked(archive.stat().st_size), limits)
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError) as error:
        _refuse(f"it is damaged ({type(error).__name__})", error)
    except OSError as error:
        _refuse(f"it cannot be unpacked ({error.strerror or error})", error)


def _unpack(members: Iterator[_Member], folder: Path, most: int, limits: Limits) -> None:
    first = next(members, None)
    prefix, _, name = first.name.partition("/") if first else ("", "", "")
    if first is None or name != MANIFEST or first.size > limits.manifest_bytes:
        _refuse(f"its first member is no {MANIFEST} of at most {limits.manifest_bytes} bytes")
    _write_member(first, folder / MANIFEST)
    files = parse_manifest((folder / MANIFEST).read_bytes())["files"]
    check_names([f"{prefix}/{name}" for name in (MANIFEST, *files)])
    total = sum(row["size"] for row in files.values())
    if total > most or len(files) > limits.files:
        _refuse(f"it unpacks to {total} bytes in {len(files)} files; {most} bytes are allowed for its size")
    if total > shutil.disk_usage(folder).free:
        _refuse(f"it unpacks to {total} bytes, and the temporary folder has no room for them")
    waiting = {f"{prefix}/{name}": name for name in files}
    for member in members:
        name = waiting.pop(member.name, "")
        if not name:
            _refuse(f"member {member.name[:200]!r} is not in its {MANIFEST}, or stands twice")
        if member.size != files[name]["size"]:
            _refuse(f"member '{name}' has {member.size} bytes instead of {files[name]['size']}")
        _write_member(member, folder / name)


def _write_member(member: _Member, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    left = member.size
    with path.open("xb") as out:
        while chunk := member.stream.read(min(_CHUNK, left + 1)):
            left -= len(chunk)
            if left < 0:
                break
            out.write(chunk)
    if left:
        _refuse(f"member {member.name[:200]!r} does not hold the {member.size} bytes it declares")


@contextmanager
def _members(archive: Path) -> Iterator[Iterator[_Member]]:
    with archive.open("rb") as file:
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as opened:
                yield _zip_members(opened)
            return
        file.seek(0)
        # `tarfile` asks for whole headers at once; a hostile one declares gigabytes.
        with (
            gzip.GzipFile(fileobj=file) as plain,
            tarfile.open(fileobj=cast("IO[bytes]", _CappedReads(plain)), mode="r:") as tar,
        ):
            yield _tar_members(tar, plain)


class _CappedReads:
    """A seekable stream that refuses to read more than _LARGEST_READ bytes at once."""

    def __init__(self, stream: gzip.GzipFile) -> None:
        self._stream = stream
        self.tell, self.seek, self.close = stream.tell, stream.seek, stream.close

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _LARGEST_READ:
            _refuse(f"a header of {size} bytes is larger than {_LARGEST_READ}")
        return self._stream.read(size)


def _tar_members(tar: tarfile.TarFile, plain: gzip.GzipFile) -> Iterator[_Member]:
    for member in tar:
        if member.isdir():
            continue
        if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.issparse() or member.pax_headers:
            _refuse(f"member {member.name[:200]!r} is a link or no plain file")
        stream = tar.extractfile(member)
        if stream is not None:
            yield _Member(member.name, member.size, stream)
    # To the very end, where gzip checks its own sum; tar pads with zeros only.
    rest = plain.read(_CHUNK)
    if len(rest) == _CHUNK or rest.strip(b"\0"):
        _refuse("something follows its last member")


def _zip_members(archive: zipfile.ZipFile) -> Iterator[_Member]:
    for member in archive.infolist():
        if member.is_dir():
            continue
        mode = member.external_attr >> 16
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG) or member.flag_bits & 0x1:
            _refuse(f"member {member.filename[:200]!r} is a link, encrypted or no plain file")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            _refuse(f"member {member.filename[:200]!r} is neither stored nor deflated")
        if member.orig_filename != member.filename:
            _refuse(f"member {member.orig_filename[:200]!r} hides another name")
        with archive.open(member) as stream:
            yield _Member(member.filename, member.file_size, stream)


def _refuse(rule: str, cause: Exception | None = None) -> NoReturn:
    raise BundleError(f"archive refused: {rule}", fix=_PACK) from cause
