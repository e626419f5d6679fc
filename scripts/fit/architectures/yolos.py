"""Detectors and segmenters of ultralytics: in its own export form, and as AI Hub cuts and ends them."""

from __future__ import annotations

from types import MethodType
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from scripts.fit.architectures.blocks import image

if TYPE_CHECKING:
    from collections.abc import Callable

    from scripts.fit.architectures.blocks import Made


def _load(name: str, classes: int) -> tuple[nn.Module, Any]:
    """The fused network and its head, in its form for export and without the choice of the best boxes."""
    from ultralytics.nn.tasks import DetectionModel, SegmentationModel

    kind = SegmentationModel if name.endswith("-seg.yaml") else DetectionModel
    model = kind(name, nc=classes, verbose=False).eval()
    head = model.model[-1]
    head.end2end = False
    model.fuse(verbose=False)
    head.export, head.format = True, "onnx"
    return model, head


def exported(name: str, size: int) -> Callable[[], Made]:
    """As ultralytics exports it: boxes and scores in one tensor, [1, 84, places]."""
    return lambda: (_load(name, 80)[0], (image(size),))


def _leave_apart(head: Any, maps: list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    """Boxes [1, 4, places], scores [1, classes, places]; of a segmenter mask factors and prototypes too."""
    made = head.forward_head(maps, **head.one2many)
    boxes, scores = head._get_decode_boxes(made), made["scores"].sigmoid()
    if "mask_coefficient" not in made:
        return boxes, scores
    return boxes, scores, made["mask_coefficient"], head.proto(maps[0])


class Detected(nn.Module):
    """AI Hub's ending: corners of boxes, the best score of each place and its class, mask factors turned."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """[1, 3, h, w] -> [1, places, 4], [1, places], [1, places] (classes, where there are several), ..."""
        boxes, scores, *masks = self.model(x)
        middle, size = boxes.permute(0, 2, 1).split(2, -1)
        corners = torch.cat([middle - size / 2, middle + size / 2], -1)
        rest = [masks[0].permute(0, 2, 1), masks[1]] if masks else []
        if scores.shape[1] == 1:
            return (corners, scores.squeeze(1), *rest)
        best, classes = scores.permute(0, 2, 1).max(-1)
        return (corners, best, classes.to(torch.uint8), *rest)


def detected(name: str, size: int, classes: int = 80) -> Callable[[], Made]:
    """As AI Hub runs it."""

    def build() -> Made:
        model, head = _load(name, classes)
        head.forward = MethodType(_leave_apart, head)
        return Detected(model), (image(size),)

    return build


MODELS: dict[str, Callable[[], Made]] = {
    "yolov8_det": detected("yolov8n.yaml", 640),
    "yolov8_seg": detected("yolov8n-seg.yaml", 640),
    "yolov10_det": detected("yolov10n.yaml", 640),
    "yolov11_seg": detected("yolo11n-seg.yaml", 640),
    "yolov3": detected("yolov3-tiny.yaml", 416),
    "yolov6": detected("yolov6n.yaml", 640),
    "fastsam_s": detected("yolov8s-seg.yaml", 640, classes=1),
    "fastsam_x": detected("yolov8x-seg.yaml", 640, classes=1),
    "yolo11n": exported("yolo11n.yaml", 640),
    "yolo11s": exported("yolo11s.yaml", 640),
    "yolo11m": exported("yolo11m.yaml", 640),
    "yolo11l": exported("yolo11l.yaml", 640),
    "yolo11x": exported("yolo11x.yaml", 640),
}
