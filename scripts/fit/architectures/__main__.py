"""python -m scripts.fit.architectures FOLDER [NAME ...]: writes each model as ONNX, one process a model.

Runs in an environment of its own: torch, torchvision (without its dependencies), timm, transformers,
ultralytics, segmentation-models-pytorch, onnx. Parameters are printed, to be held against published ones.
"""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path


def export(name: str, folder: Path) -> None:
    """Build one model with seeded weights and write NAME.onnx, `/` in its name becoming `--`."""
    import torch

    from scripts.fit.architectures.models import MODELS
    from scripts.fit.architectures.packaged import stub_torchvision

    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    torch.backends.mha.set_fastpath_enabled(False)  # its fused operator has no ONNX form
    stub_torchvision()
    model, samples = MODELS[name]()
    model.eval()
    path = folder / f"{name.replace('/', '--')}.onnx"
    with torch.no_grad():
        torch.onnx.export(model, samples, str(path), opset_version=17, dynamo=False)
    weights = sum(weight.numel() for weight in model.parameters())
    print(f"{name}: {weights / 1e6:.2f} M parameters")  # noqa: T201 - what the script is run for


def main(folder: Path, names: list[str]) -> None:
    """Every model that is not there yet; one that fails or takes too long is told and left out."""
    from scripts.fit.architectures.models import MODELS

    folder.mkdir(parents=True, exist_ok=True)
    for name in names or MODELS:
        if (folder / f"{name.replace('/', '--')}.onnx").exists():
            continue
        command = [sys.executable, "-m", "scripts.fit.architectures", "--one", name, str(folder)]
        try:
            made = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
            last = (made.stdout if made.returncode == 0 else made.stderr).strip().splitlines()[-1:]
        except subprocess.TimeoutExpired:
            last = [f"{name}: took too long"]
        said = " ".join(last) or "no word"
        line = said if said.startswith(name) else f"{name} FAILED: {said}"
        print(line, flush=True)  # noqa: T201 - what the script is run for


if __name__ == "__main__":
    if sys.argv[1] == "--one":
        export(sys.argv[2], Path(sys.argv[3]))
    else:
        main(Path(sys.argv[1]), sys.argv[2:])
