"""Puts a real model and labelled samples for it into the current folder: angle.onnx and words/.

    python -m examples.first_model

PP-OCRv4's angle classifier out of its installed package, and 16 rendered words, every second one upside down.
"""

from __future__ import annotations

from pathlib import Path

from examples.rendered_text import find_model, render_turned_words, save_samples, to_cls_input

COUNT = 16


def write_first_model(folder: Path) -> None:
    """Write both into `folder`."""
    (folder / "angle.onnx").write_bytes(find_model("cls").read_bytes())
    turned = render_turned_words("calibration", COUNT)
    inputs = (to_cls_input(image) for image, _ in turned)
    save_samples(inputs, folder / "words", labels=[label for _, label in turned])


if __name__ == "__main__":
    write_first_model(Path())
    print(f"angle.onnx and words/ ({COUNT} samples) are here")
