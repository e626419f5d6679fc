"""Listens to another sound with the INT8 and the fp32 file of a bundle, each with its own state.

python -m examples.speech_detector.listen BUNDLE
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort

from examples.speech_detector.data import WINDOW, list_windows, make_sound


def main(bundle: Path) -> None:
    """Print how often both say the same of a window."""
    heard = {}
    for variant in ("fp32", "int8"):
        session = ort.InferenceSession(
            str(bundle / f"model.{variant}.ort"), providers=["CPUExecutionProvider"]
        )
        heard[variant] = np.array([chance for _, chance in list_windows(session, make_sound(2))])
    same = (heard["fp32"] > 0.5) == (heard["int8"] > 0.5)
    print(f"{len(same)} windows of {WINDOW} samples: int8 and fp32 agree on speech in {same.mean():.1%}")
    print(f"largest difference of the probability: {np.abs(heard['fp32'] - heard['int8']).max():.2f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
