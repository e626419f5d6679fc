"""Where text is on the test pages, by the INT8 and the fp32 file of a bundle.

    python -m examples.text_detector.find BUNDLE

The map the model gives is cut at .3, as its authors do; what both call text is set beside what either does.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort

CUT = 0.3


def main(bundle: Path) -> None:
    """Print the share of text and the overlap (intersection over union) for each page."""
    sessions = [
        ort.InferenceSession(str(bundle / f"model.{variant}.ort"), providers=["CPUExecutionProvider"])
        for variant in ("fp32", "int8")
    ]
    for file in sorted(Path("test").glob("*.npz")):
        with np.load(file, allow_pickle=False) as page:
            feeds = {"x": page["x"]}
        exact, small = (np.asarray(session.run(None, feeds)[0]) > CUT for session in sessions)
        overlap = (exact & small).sum() / max(1, (exact | small).sum())
        print(f"{file.name}: {exact.mean():.1%} of it is text, overlap of int8 and fp32 {overlap:.3f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
