"""Every network the fits are made of, by its name in the public table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scripts.fit.architectures import (
    detectors,
    detr,
    ffnet,
    language,
    maps,
    nomic,
    packaged,
    pictures,
    recognizers,
    streets,
    whisper,
    yolos,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from scripts.fit.architectures.blocks import Made

# Made anew at each call: a module with random weights, and its inputs.
MODELS: dict[str, Callable[[], Made]] = {
    **packaged.MODELS,
    **yolos.MODELS,
    **language.MODELS,
    **whisper.MODELS,
    **pictures.MODELS,
    **recognizers.MODELS,
    **detectors.MODELS,
    **maps.MODELS,
    **ffnet.MODELS,
    **streets.MODELS,
    **detr.MODELS,
    **nomic.MODELS,
}
