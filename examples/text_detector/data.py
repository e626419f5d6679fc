"""Puts det.onnx, calibration/ and test/ here: PP-OCRv4's text detector and rendered pages of 640x640.

python -m examples.text_detector.data
"""

from __future__ import annotations

from pathlib import Path

from examples.rendered_text import find_model, render_pages, save_samples, to_det_input

CALIBRATION, TEST = 8, 4


def write_data(folder: Path) -> None:
    """Write all three into `folder`; the two parts share no word."""
    (folder / "det.onnx").write_bytes(find_model("det").read_bytes())
    save_samples(map(to_det_input, render_pages("calibration", CALIBRATION)), folder / "calibration")
    save_samples(map(to_det_input, render_pages("test", TEST)), folder / "test")


if __name__ == "__main__":
    write_data(Path())
    print("det.onnx, calibration/ and test/ are here")
