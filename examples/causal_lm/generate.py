"""Generates from a bundle as a program on the phone does: prefill once, then decode with the cache kept.

    python -m examples.causal_lm.generate BUNDLE VARIANT [MODEL-FOLDER]

Greedy, 24 tokens behind 12 given ones. With MODEL-FOLDER what transformers generates stands beside them.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort

if TYPE_CHECKING:
    from collections.abc import Sequence

    Arrays = dict[str, np.ndarray]

PROMPT, NEW = tuple(range(3, 63, 5)), 24


class Decoder:
    """The two files of one variant, and the cache between them: [1, KV heads, past, head size] a tensor."""

    def __init__(self, bundle: Path, variant: str) -> None:
        self.prefill, self.decode = (
            ort.InferenceSession(str(bundle / f"{part}.{variant}.ort"), providers=["CPUExecutionProvider"])
            for part in ("prefill", "decode")
        )
        shapes = {item.name: item.shape for item in self.decode.get_inputs()}
        self.past = {
            name: np.zeros(size, np.float32) for name, size in shapes.items() if name.startswith("past_")
        }
        self.past.pop("past_length", None)
        self.length = 0

    def start(self, prompt: Sequence[int]) -> int:
        """The token behind the prompt, which is padded to the size the file was made for."""
        (width,) = (item.shape[1] for item in self.prefill.get_inputs() if item.name == "input_ids")
        ids = np.zeros((1, width), np.int64)
        ids[0, : len(prompt)] = prompt
        feeds = {
            "input_ids": ids,
            "position_ids": np.arange(width)[None],
            "last": np.array([len(prompt) - 1]),
        }
        return self._keep(run(self.prefill, feeds), len(prompt))

    def step(self, token: int) -> int:
        """The token behind this one."""
        feeds = {
            "input_ids": np.array([[token]]),
            "position_ids": np.array([[self.length]]),
            "past_length": np.array([self.length]),
        }
        return self._keep(run(self.decode, feeds | self.past), 1)

    def _keep(self, outputs: Arrays, count: int) -> int:
        """Write the new keys and values behind the past; the token with the largest logit."""
        for name, past in self.past.items():
            new = outputs[name.replace("past_", "new_", 1)]
            past[:, :, self.length : self.length + count] = new[:, :, :count]
        self.length += count
        return int(outputs["logits"][0, 0].argmax())


def run(session: ort.InferenceSession, feeds: Arrays) -> Arrays:
    """The outputs by name; whole numbers become what the file takes."""
    names = [item.name for item in session.get_outputs()]
    kinds = {item.name: np.int64 if "int64" in item.type else np.float32 for item in session.get_inputs()}
    outputs = session.run(names, {name: value.astype(kinds[name]) for name, value in feeds.items()})
    return {name: np.asarray(value) for name, value in zip(names, outputs, strict=True)}


def generate(bundle: Path, variant: str) -> list[int]:
    """NEW tokens behind PROMPT, by the bundle's files."""
    decoder = Decoder(bundle, variant)
    tokens = [decoder.start(PROMPT)]
    while len(tokens) < NEW:
        tokens.append(decoder.step(tokens[-1]))
    return tokens


def generate_with_transformers(folder: Path) -> list[int]:
    """The same by the library the model comes from."""
    import torch

    library: Any = import_module("transformers")
    model = library.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    made = model.generate(torch.tensor([PROMPT]), max_new_tokens=NEW, do_sample=False)
    return [int(token) for token in made[0, len(PROMPT) :]]


def main(words: Sequence[str]) -> None:
    """Print the tokens, and how many are the same."""
    bundle, variant, *folder = words
    tokens = generate(Path(bundle), variant)
    print(variant, *tokens)
    if folder:
        expected = generate_with_transformers(Path(folder[0]))
        print("transformers", *expected)
        same = next(
            (index for index, pair in enumerate(zip(tokens, expected, strict=True)) if pair[0] != pair[1]),
            NEW,
        )
        print(f"equal for {same} of {NEW} tokens")


if __name__ == "__main__":
    main(sys.argv[1:])
