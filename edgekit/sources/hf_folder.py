"""A Hugging Face folder or id: loaded by transformers from safetensors, code of its own never run."""

from __future__ import annotations

import json
import re
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.errors import MissingToolError, SourceError
from edgekit.sources.pickled import holds_tensors_alone, refuse_pickles
from edgekit.sources.torch_component import DynamicDim, TorchComponent, TorchSource

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
_FILES = (".onnx", ".ort", ".pt2", ".pt", ".pth", ".ckpt", ".bin", ".toml")
_PATTERNS = ("*.json", "*.safetensors")
_GET_IT = 'pip install "transformers>=4.57,<5"'
_MOST_LISTED = 3
_TEXT_LENGTH = 16  # of example texts; the dim stays open


def is_hf_id(text: str) -> bool:
    """Whether a model may be an id of a Hugging Face repository (`org/name`)."""
    return _ID.fullmatch(text) is not None and not text.endswith(_FILES)


def locate_hf(text: str, *, shape_only: bool = False) -> Path:
    """The folder of an id: what Hugging Face's cache holds, else downloaded.

    Downloaded are config and safetensors, under shape_only the config; with HF_HUB_OFFLINE=1 nothing.
    SourceError where it is not to be had.
    """
    if find_spec("huggingface_hub") is None:
        raise MissingToolError(f"'{text}' needs transformers", fix=_GET_IT)
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(text, allow_patterns=list(_PATTERNS[:1] if shape_only else _PATTERNS)))
    except Exception as error:
        raise SourceError(
            f"there is no file '{text}', and Hugging Face has no such model here: "
            f"{type(error).__name__}: {str(error).splitlines()[0][:200]}",
            fix="check the name; without a network give the folder of a downloaded model",
        ) from error


def list_hf_files(folder: Path) -> list[Path]:
    """The files that a model is made of, in name order."""
    return sorted([*(path for pattern in _PATTERNS for path in folder.glob(pattern)), *list_pickles(folder)])


def list_pickles(folder: Path) -> list[Path]:
    """The pickled weights of a folder that holds no others."""
    held = any(folder.glob("*.safetensors"))
    return [] if held else sorted(folder.glob("pytorch_model*.bin"))


def read_config(folder: Path) -> Any:
    """The configuration in a folder; SourceError for one that is damaged, unknown or needs code."""
    if find_spec("transformers") is None:
        raise MissingToolError(f"'{folder}' needs transformers", fix=_GET_IT)
    path = folder / "config.json"
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SourceError(f"{path} can't be read: {error}", fix="copy the whole model folder") from error
    if not isinstance(raw, dict) or raw.get("auto_map"):
        raise SourceError(
            f"{path} names code of its own (auto_map), which is never run",
            fix="build the model in your own module and give it as package.module:factory",
        )
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        raise SourceError(
            f"{path}: transformers does not know this model: {str(error).splitlines()[0][:200]}",
            fix="install a newer transformers, or give the model as package.module:factory",
        ) from error


def load_hf(folder: Path, *, shape_only: bool = False, trusted: bool = False) -> TorchSource:
    """The model of a folder as components: prefill and decode of a decoder, else one with open dims.

    SourceError for missing weights, pickled ones of a folder that is not trusted, and a config that does not
    match them. shape_only: from the config alone.
    """
    from edgekit.sources.hf_decoder import decoder_source, is_decoder

    config = read_config(folder)
    module = make_hollow(config) if shape_only else load_weights(folder, config, trusted=trusted)
    if is_decoder(config):
        return decoder_source(module, shape_only=shape_only)
    return TorchSource({"model": _one_component(module, config, shape_only=shape_only)}, "", shape_only)


def make_hollow(config: Any) -> torch.nn.Module:
    """The module that a config describes, its parameters without values or memory."""
    from edgekit.sources.weightless import fill_hollow, without_weights

    with without_weights():
        module: torch.nn.Module = architecture(config)(config)
    fill_hollow([module])
    return module.eval()


def architecture(config: Any) -> Any:
    """The transformers class that a config names; SourceError where there is none of that name."""
    import transformers

    names = list(getattr(config, "architectures", None) or [])
    found = getattr(transformers, names[0], None) if names else None
    if found is None:
        raise SourceError(
            f"config.json names the architecture {names or 'of no model'}, which transformers "
            f"{transformers.__version__} has not",
            fix='set "architectures" to a class of transformers, or install a newer one',
        )
    return found


def load_weights(folder: Path, config: Any, *, trusted: bool = False) -> torch.nn.Module:
    """The module in float32 with every weight from the folder's safetensors, or its trusted pickles."""
    pickles = list_pickles(folder)
    if pickles and not trusted:
        refuse_pickles(pickles)
    if not pickles and not any(folder.glob("*.safetensors")):
        raise SourceError(
            f"'{folder}' holds no weights: a .safetensors file is missing",
            fix="copy the model's .safetensors files there; --shape-only needs none",
        )
    _check_index(folder, "pytorch_model*.bin" if pickles else "*.safetensors")
    try:
        module, info = _from_pretrained(folder, config, pickles)
    except SourceError:
        raise
    except Exception as error:
        raise SourceError(
            f"the weights of '{folder}' can't be loaded: {type(error).__name__}: "
            f"{str(error).splitlines()[0][:300]}",
            fix="copy the whole model folder again",
        ) from error
    _refuse_mismatch(folder, info)
    found: torch.nn.Module = module
    return found.eval()


def _from_pretrained(folder: Path, config: Any, pickles: Sequence[Path]) -> tuple[Any, Any]:
    """The module and what transformers tells of loading it; pickles as tensors alone wherever they are."""
    import torch

    words = {
        "config": config,
        "dtype": torch.float32,
        "local_files_only": True,
        "trust_remote_code": False,
        "use_safetensors": not pickles,
        "ignore_mismatched_sizes": True,
        "output_loading_info": True,
    }
    plain = all(holds_tensors_alone(path) for path in pickles)
    found: tuple[Any, Any] = architecture(config).from_pretrained(folder, weights_only=plain, **words)
    return found


def _check_index(folder: Path, weights: str) -> None:
    """SourceError for a shard that an index of `weights` (a pattern) names and the folder itself lacks."""
    for index in folder.glob(f"{weights}.index.json"):
        try:
            shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
            raise SourceError(f"{index} is damaged", fix="copy the whole model folder again") from error
        for shard in sorted(map(str, shards)):
            if "/" in shard or "\\" in shard or not (folder / shard).is_file():
                raise SourceError(
                    f"'{folder}': the weights file '{shard[:100]}' is missing",
                    fix="copy every file of weights",
                )


def _refuse_mismatch(folder: Path, info: dict[str, Any]) -> None:
    """SourceError where config.json and the checkpoint are not of one model."""
    wrong = [f"'{name}' has another shape than the config says" for name in sorted(info["mismatched_keys"])]
    wrong += [f"'{name}' is missing" for name in sorted(info["missing_keys"])]
    if not wrong:
        return
    more = f", and {len(wrong) - _MOST_LISTED} more" if len(wrong) > _MOST_LISTED else ""
    raise SourceError(
        f"config.json of '{folder}' does not match its weights: {'; '.join(wrong[:_MOST_LISTED])}{more}",
        fix="take both files from the same model",
    )


def _one_component(module: torch.nn.Module, config: Any, *, shape_only: bool) -> TorchComponent:
    """A model without a cache, with example inputs by what its main input is."""
    import torch

    main = getattr(module, "main_input_name", "input_ids")
    batch = DynamicDim("batch")
    names = partial(output_names, module, shape_only=shape_only)
    random = torch.Generator().manual_seed(0)
    if main == "pixel_values":
        height, width = _image_size(config)
        channels = int(getattr(config, "num_channels", 3))
        inputs = {main: torch.randn(2, channels, height, width, generator=random)}
        wrapped = wrap_outputs(module, list(inputs))
        return TorchComponent(wrapped, inputs, {main: {0: batch}}, names(inputs))
    if main == "input_ids":
        vocabulary = int(getattr(config, "vocab_size", 0)) or 100
        ids = torch.randint(0, vocabulary, (2, _TEXT_LENGTH), generator=random)
        inputs = {main: ids, "attention_mask": torch.ones_like(ids)}
        open_dims = {0: batch, 1: DynamicDim("length", 1, getattr(config, "max_position_embeddings", None))}
        dynamic = dict.fromkeys(inputs, open_dims)
        return TorchComponent(wrap_outputs(module, list(inputs)), inputs, dynamic, names(inputs))
    raise SourceError(
        f"{type(module).__name__} reads '{main}', for which no example input is known",
        fix="give it with example inputs as package.module:factory",
    )


def _image_size(config: Any) -> tuple[int, int]:
    size = getattr(config, "image_size", None)
    if isinstance(size, (list, tuple)) and len(size) == 2:
        return int(size[0]), int(size[1])
    return (int(size), int(size)) if isinstance(size, int) else (224, 224)


def output_names(
    module: torch.nn.Module, inputs: dict[str, torch.Tensor], *, shape_only: bool
) -> tuple[str, ...]:
    """The names that transformers gives the tensors of an output (`logits`, `last_hidden_state` ...)."""
    import torch

    words: dict[str, Any] = {**inputs, "return_dict": True}
    if shape_only:
        given = _run_fake(module, words)
    else:
        with torch.no_grad():
            given = module(**words)
    return tuple(name for name, value in given.items() if isinstance(value, torch.Tensor))


def _run_fake(module: torch.nn.Module, words: dict[str, Any]) -> Any:
    """As `run_fake`; SourceError for a model that asks for numbers."""
    from torch._subclasses.fake_tensor import DataDependentOutputException

    from edgekit.sources.explain_export import WITH_WEIGHTS, user_line
    from edgekit.sources.weightless import run_fake

    try:
        return run_fake(module, words)
    except DataDependentOutputException as error:
        raise SourceError(
            f"{type(module).__name__} decides by numbers in a tensor, and shapes alone have none: "
            f"{user_line(error)}",
            fix=WITH_WEIGHTS,
        ) from error


def wrap_outputs(module: torch.nn.Module, names: Sequence[str]) -> torch.nn.Module:
    """The module with the arguments `names`, and a tuple of tensors in place of transformers' class."""
    import torch

    class TensorsOnly(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = module

        def run(self, inputs: dict[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
            given = self.inner(**inputs, return_dict=True)
            return tuple(value for value in given.values() if isinstance(value, torch.Tensor))

    class OfImages(TensorsOnly):
        def forward(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return self.run({"pixel_values": pixel_values})

    class OfTexts(TensorsOnly):
        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return self.run({"input_ids": input_ids, "attention_mask": attention_mask})

    return (OfImages if "pixel_values" in names else OfTexts)()
