"""What an app does between the components: patches of an image, the prompt around it, and its positions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from examples.arr_coc_0_1.configuration import ArrCocConfig

    Floats = NDArray[np.float32]
    Ints = NDArray[np.int64]


def patchify(image: Floats, config: ArrCocConfig) -> Floats:
    """image [1, 3, pixels, pixels] of 0..1 -> [patches, 1536] as Qwen's processor lays them out.

    Normalized to -1..1; the frame is given twice, for Qwen takes two at a time.
    """
    patch, merge = config.patch, config.merge
    frames = int(config.qwen.vision_config.temporal_patch_size)
    merged = config.grid
    values = np.repeat(image * 2 - 1, frames, 0)  # [frames, 3, pixels, pixels]
    split = values.reshape(frames, 3, merged, merge, patch, merged, merge, patch)
    ordered = split.transpose(2, 5, 3, 6, 1, 0, 4, 7)
    return np.ascontiguousarray(ordered.reshape((merged * merge) ** 2, -1), np.float32)


def prompt_positions(before: int, chosen: Ints, config: ArrCocConfig, after: int) -> Ints:
    """Time, height and width of each token, [3, 1, prompt]: text, the chosen visual tokens, text.

    A chosen token keeps the place that it has in the whole grid, and text goes on behind the grid, chosen
    tokens or not, as Qwen's get_rope_index has it.
    """
    rows, columns = np.divmod(chosen.reshape(-1), config.grid)
    visual = before + np.stack((np.zeros_like(rows), rows, columns))
    first = np.tile(np.arange(before), (3, 1))
    last = np.tile(before + config.grid + np.arange(after), (3, 1))
    return np.concatenate((first, visual, last), 1)[:, None].astype(np.int64)


def assemble_prompt(
    text_embeds: Floats, before: int, visual_embeds: Floats, deepstack: Floats
) -> tuple[Floats, Floats]:
    """inputs_embeds [1, prompt, width] and deepstack [3, 1, prompt, width], which is 0 where text is."""
    embeds = np.concatenate((text_embeds[:, :before], visual_embeds, text_embeds[:, before:]), 1)
    features = np.zeros((len(deepstack), *embeds.shape), np.float32)
    features[:, :, before : before + visual_embeds.shape[1]] = deepstack
    return embeds, features
