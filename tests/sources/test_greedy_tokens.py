"""A decoder trained for a second on sequences that repeat: the tokens it goes on with, in every bundle."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

import edgekit
from edgekit._results import GREEDY_STEPS
from edgekit.sources.export_source import export_components
from edgekit.sources.hf_decoder import decoder_source
from edgekit.targets.ort_mobile import OrtMobile
from tests.converted import run
from tests.sources import hf_models
from tests.sources.test_hf_decoder import Spoiled

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from edgekit._results import OutputParity
    from edgekit._values import Artifact
    from edgekit.target import Session

PERIOD, STEPS, LETTERS = 5, 32, 24
SIZES = {**hf_models.TEXT, "vocab_size": LETTERS, "hidden_size": 32, "intermediate_size": 64}
SIZES |= {"num_hidden_layers": 1}  # letters are found by how far back they lie, for which one layer is enough
ROUNDS = 400


def draw_periodic(random: torch.Generator, count: int, length: int) -> torch.Tensor:
    """Rows of PERIOD different letters, over and over."""
    keys = torch.rand(count, LETTERS, generator=random).argsort(1)[:, :PERIOD]
    return keys.repeat(1, length // PERIOD + 1)[:, :length]


def train() -> Any:
    torch.manual_seed(3)
    module: Any = Qwen3ForCausalLM(Qwen3Config(**SIZES)).train()
    random = torch.Generator().manual_seed(1)
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-2)
    slower = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, ROUNDS)
    for _ in range(ROUNDS):
        rows = draw_periodic(random, 8, 44)
        logits = module(input_ids=rows, use_cache=False).logits[:, PERIOD - 1 : -1]
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, PERIOD:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        slower.step()
    return module.eval()


@pytest.fixture(scope="module")
def trained() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # these matrices are too small to be shared out
    module = train()
    torch.set_num_threads(threads)
    return module


@pytest.fixture(scope="module")
def made(trained: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    export_components(decoder_source(trained), folder, "trained")
    return folder


@pytest.fixture(scope="module")
def bundle(made: Path) -> Path:
    result = edgekit.convert(
        made,
        targets=("ort-mobile", "litert"),
        precisions=("fp32", "w8"),
        shapes={"prompt": "8", "past": "48"},
        output=made / "out",
        cache="off",
    )
    assert result.passed
    return made / "out" / "generic-ort-mobile"


def greedy_rows(bundle: Path) -> dict[str, Mapping[str, Any]]:
    manifest = json.loads((bundle / "manifest.json").read_text())
    return {
        row["variant"]: output
        for row in manifest["parity"]
        for output in row["against_fp32"]
        if output["output"].endswith(GREEDY_STEPS)
    }


def own_greedy(module: Any, prompt: list[int]) -> list[int]:
    """By transformers' generate, with its own cache."""
    module.set_attn_implementation("eager")
    words = {"max_new_tokens": STEPS, "min_new_tokens": STEPS, "do_sample": False}
    return [int(token) for token in module.generate(torch.tensor([prompt]), **words)[0]]


def test_it_has_learnt_to_go_on(trained: Any) -> None:
    """What the other tests rest on: its tokens are decided and no matter of rounding."""
    rows = draw_periodic(torch.Generator().manual_seed(9), 16, 40)
    with torch.no_grad():
        likeliest = copy_of(trained)(input_ids=rows, use_cache=False).logits.argmax(-1)
    assert float((likeliest[:, PERIOD:-1] == rows[:, PERIOD + 1 :]).float().mean()) > 0.9


def copy_of(module: Any) -> Any:
    """Another module with its weights, which no export has changed."""
    copy: Any = Qwen3ForCausalLM(Qwen3Config(**SIZES))
    copy.load_state_dict(module.state_dict(), strict=False)
    return copy.eval()


def test_the_tokens_sealed_are_those_of_transformers_own_generate(trained: Any, bundle: Path) -> None:
    sequence = json.loads((bundle / "manifest.json").read_text())["sequence"]
    tokens = [int(one) for one in np.load(bundle / sequence["greedy_tokens"])]
    assert len(tokens) == sequence["prompt"] + STEPS
    assert tokens == own_greedy(copy_of(trained), tokens[: sequence["prompt"]])


def test_every_variant_is_told_with_the_tokens_it_chooses_alike(bundle: Path) -> None:
    for place in (bundle, bundle.with_name("generic-litert")):
        rows = greedy_rows(place)
        assert rows["fp32"]["top1"] == 1.0
        assert rows["w8"]["top1"] >= 0.9
        assert edgekit.verify(place).passed
    told = run("verify", bundle).stdout
    assert f"decode fp32: logits of {STEPS + 1} {GREEDY_STEPS}: 100.0% of the tokens are fp32's" in told


@pytest.mark.parametrize("spoil", ["position_ids", "past_key"])
def test_frozen_positions_and_a_lost_past_change_the_tokens(
    spoil: str, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = OrtMobile.open

    def open_spoiled(self: OrtMobile, artifact: Artifact, folder: Path) -> Session:
        session = opened(self, artifact, folder)
        return Spoiled(session, spoil) if artifact.component == "decode" else session

    monkeypatch.setattr(OrtMobile, "open", open_spoiled)
    proof = edgekit.verify(bundle)
    assert not proof.passed
    rows: dict[str, OutputParity] = {
        parity.variant: output
        for parity in proof.parities
        for output in parity.against_fp32
        if output.output.endswith(GREEDY_STEPS)
    }
    assert rows["fp32"].top1 is not None
    assert rows["fp32"].top1 < 0.9
    told = [line for parity in proof.parities for line in parity.gate_failures if GREEDY_STEPS in line]
    assert told
