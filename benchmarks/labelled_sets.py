"""The sets of the accuracy benchmark: a model, samples to calibrate with, other samples to score on.

Every set has at least 900 test samples. Nothing is shared between the two parts, and each part is chosen by a
rule or a fixed seed, before any quantizer has read it. What takes time to make is kept in the user's cache.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from benchmarks.peer_environment import cache_folder, find_environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Feed = dict[str, Any]
    Judge = Literal["top1", "words"]

WORKER = Path(__file__).with_name("torch_worker.py")
WORKER_VERSION = 1  # raise it when the worker makes other models or samples
# Extension -> magika's label; the label is as good as the extension, and the same for every method.
FILE_KINDS = {
    "py": "python", "html": "html", "json": "json", "rst": "rst", "js": "javascript", "png": "png",
    "yaml": "yaml", "toml": "toml", "xml": "xml", "pl": "perl", "md": "markdown", "css": "css",
    "csv": "csv", "svg": "svg", "woff2": "woff2", "ttf": "ttf", "gz": "gzip", "pyc": "pythonbytecode",
    "so": "elf", "jpg": "jpeg", "sh": "shell", "h": "c", "c": "c", "npy": "npy", "whl": "zip",
}  # fmt: skip
_MOST_OF_A_KIND, _FILES_TO_CALIBRATE, _FILES_TO_TEST = 120, 200, 914


@dataclass(frozen=True)
class LabelledSet:
    """One set: `input` and `shape` of the model; judge: the class with the largest score, or whole words."""

    name: str
    input: str
    shape: str
    judge: Judge
    model: Path
    calibration: Path
    test: Sequence[Any]
    labels: Sequence[Any]
    to_feed: Callable[[Any], Any]

    def feeds(self) -> Iterator[Feed]:
        """The test samples in their order."""
        for sample in self.test:
            yield {self.input: self.to_feed(sample)}


def open_set(name: str) -> LabelledSet:
    """The set called so, made where it is not in the cache yet."""
    return SETS[name](name)


def _trained(name: str) -> LabelledSet:
    """Fashion-MNIST, MNIST or EfficientNet-Lite0, trained and exported in the peers' environment."""
    folder = cache_folder() / "sets" / f"{name}-{WORKER_VERSION}"
    if not (folder / "complete").exists():
        folder.mkdir(parents=True, exist_ok=True)
        print(f"making the set {name} in {folder} ...", file=sys.stderr)
        python = find_environment() / "bin" / "python"
        subprocess.run([str(python), str(WORKER), name, str(folder)], check=True)
        (folder / "complete").touch()
    photos = name == "lite0"
    middle, width = (127.0, 128.0) if photos else (0.0, 255.0)

    def to_feed(pixels: Any) -> Any:
        return ((pixels[None].astype(np.float32) - middle) / width).astype(np.float32)

    calibration = folder / "calibration"
    if not calibration.exists():
        _save(calibration, "x", (to_feed(pixels) for pixels in np.load(folder / "calibration.npy")))
    test = np.load(folder / "test.npy", mmap_mode="r")
    labels = np.load(folder / "labels.npy").tolist()
    shape = "1,3,224,224" if photos else "1,1,28,28"
    return LabelledSet(name, "x", shape, "top1", folder / "model.onnx", calibration, test, labels, to_feed)


def _words(name: str) -> LabelledSet:
    """PP-OCRv4's recognizer on 100 words to calibrate with and 900 others."""
    from examples.rendered_text import find_model, render_words, to_rec_input

    folder = cache_folder() / "sets" / f"rec-{_digest(Path(find_model('rec')))}"
    if not folder.exists():
        _save(folder, "x", (to_rec_input(word.image) for word in render_words("calibration", 100)))
    words = render_words("test", 900)
    images, texts = [word.image for word in words], [word.text for word in words]
    return LabelledSet(
        name, "x", "1,3,48,320", "words", find_model("rec"), folder, images, texts, to_rec_input
    )


def _angles(name: str) -> LabelledSet:
    """PP-OCR's angle classifier on 100 words to calibrate with and 900 others, every second upside down."""
    from examples.rendered_text import find_model, render_turned_words, to_cls_input

    folder = cache_folder() / "sets" / f"cls-{_digest(Path(find_model('cls')))}"
    if not folder.exists():
        _save(folder, "x", (to_cls_input(image) for image, _ in render_turned_words("calibration", 100)))
    images, labels = zip(*render_turned_words("test", 900), strict=True)
    return LabelledSet(
        name, "x", "1,3,48,192", "top1", find_model("cls"), folder, images, labels, to_cls_input
    )


def _files(name: str) -> LabelledSet:
    """magika on files of this machine, labelled by their extensions: 200 to calibrate with, 914 others."""
    spec = find_spec("magika")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("magika is missing: pip install --no-deps -r requirements-models.txt")
    place = Path(spec.submodule_search_locations[0]) / "models" / "standard_v3_3"
    # Chosen once: files come and go on a machine at work, and every process must read the same samples.
    where = hashlib.sha256(sys.prefix.encode()).hexdigest()[:12]
    folder = cache_folder() / "sets" / f"magika-files-{where}"
    if not folder.exists():
        _keep_files(folder)
    test = np.load(folder / "test.npy", mmap_mode="r")
    classes = _magika_classes(place)
    kinds = (folder / "kinds.txt").read_text(encoding="utf-8").split()
    labels = [classes.index(FILE_KINDS[kind]) for kind in kinds]
    model = place / "model.onnx"
    calibration = folder / "calibration"
    return LabelledSet(name, "bytes", "1,2048", "top1", model, calibration, test, labels, np.asarray)


def _keep_files(folder: Path) -> None:
    """Read the chosen files into a folder of the cache, put in place when it is whole."""
    files = _choose_files()
    if len(files) < _FILES_TO_CALIBRATE + _FILES_TO_TEST:
        raise SystemExit(f"only {len(files)} files of known kinds are here, 1114 are needed")
    fit, test = np.split(np.array(files[: _FILES_TO_CALIBRATE + _FILES_TO_TEST]), [_FILES_TO_CALIBRATE])
    part = folder.with_name(f".{folder.name}.part")
    part.mkdir(parents=True, exist_ok=True)
    _save(part / "calibration", "bytes", (read_magika_input(path) for path in fit))
    np.save(part / "test.npy", np.stack([read_magika_input(path) for path in test]))
    (part / "kinds.txt").write_text("\n".join(path.suffix[1:] for path in test), encoding="utf-8")
    part.rename(folder)


def _choose_files() -> list[Path]:
    """Up to 120 of each kind in Python's own folders and /usr, in the order of a hash of the path."""
    roots = [Path(sysconfig.get_path("stdlib")), Path(sys.prefix), Path("/usr/share"), Path("/usr/lib")]
    found: dict[str, set[Path]] = {kind: set() for kind in FILE_KINDS}
    for root in roots:
        for path in root.rglob("*.*"):
            if path.suffix[1:] in found and path.is_file() and not path.is_symlink():
                found[path.suffix[1:]].add(path)
    kept = [
        path
        for paths in found.values()
        for path in sorted((p for p in paths if p.stat().st_size >= 64), key=_order)[:_MOST_OF_A_KIND]
    ]
    return sorted(kept, key=_order)


def _order(path: Path) -> str:
    return hashlib.sha256(str(path).encode()).hexdigest()


def read_magika_input(path: Path) -> Any:
    """[1, 2048] int32: the first and last 1024 bytes of what is left without white space, padded with 256."""
    with path.open("rb") as stream:
        head = stream.read(4096).lstrip()[:1024]
        stream.seek(max(0, path.stat().st_size - 4096))
        tail = stream.read(4096).rstrip()[-1024:]
    values = np.full(2048, 256, np.int32)
    values[: len(head)] = np.frombuffer(head, np.uint8)
    values[2048 - len(tail) :] = np.frombuffer(tail, np.uint8)
    return values[None]


def _magika_classes(place: Path) -> list[str]:
    import json

    config = json.loads((place / "config.min.json").read_text(encoding="utf-8"))
    return list(config["target_labels_space"])


def _save(folder: Path, name: str, inputs: Iterator[Any]) -> None:
    """One .npz a sample, and the folder in place only when all are written."""
    part = folder.with_name(f".{folder.name}.part")
    part.mkdir(parents=True, exist_ok=True)
    for index, values in enumerate(inputs):
        np.savez(part / f"{index:04d}.npz", allow_pickle=False, **{name: values})
    part.rename(folder)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


SETS: dict[str, Callable[[str], LabelledSet]] = {
    "magika": _files,
    "rec": _words,
    "cls": _angles,
    "mnist": _trained,
    "fashion-mnist": _trained,
    "lite0": _trained,
}
