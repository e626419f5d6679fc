"""arr-coc-0-1: its parameters, each module beside a known truth, and its bundles beside transformers."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import Qwen2VLImageProcessor, Qwen3VLForConditionalGeneration

from edgekit import list_devices
from edgekit._bundle import open_bundle
from edgekit._results import Measurement
from edgekit.errors import SourceError
from edgekit.registry import load_targets
from edgekit.sources.weightless import without_weights
from examples.arr_coc_0_1 import configuration, report
from examples.arr_coc_0_1.allocator import area_weights, choose, information
from examples.arr_coc_0_1.components import make_source, scenario
from examples.arr_coc_0_1.model import OWN_WEIGHTS, assemble, build
from examples.arr_coc_0_1.report_figures import below
from examples.arr_coc_0_1.report_pages import TEXTS, render_image
from examples.arr_coc_0_1.request import assemble_prompt, patchify, prompt_positions
from examples.arr_coc_0_1.texture import SOBEL_MAGNITUDE, TextureArray

if TYPE_CHECKING:
    from examples.arr_coc_0_1.model import ArrCoc

ROOT = Path(__file__).parents[1]
README = ROOT / "examples/arr_coc_0_1/README.md"
DEVICES = ("generic-ort-mobile", "generic-litert", "generic-coreml", "generic-tensorrt")
BEFORE, AFTER, STEPS = 2, 4, 32


def image(pixels: int) -> np.ndarray:
    """A picture with edges, colours and a busy corner, [1, 3, pixels, pixels]."""
    random = np.random.default_rng(7)
    y, x = np.mgrid[0:pixels, 0:pixels] / pixels
    made = np.stack((x, y, (np.hypot(x - 0.5, y - 0.5) < 0.3).astype(float)))
    made[:, pixels // 2 :, : pixels // 2] = random.random((3, pixels - pixels // 2, pixels // 2))
    return made[None].astype(np.float32)


def tokens(count: int) -> np.ndarray:
    return np.random.default_rng(5).integers(0, 290, (1, count))


@pytest.fixture(scope="module")
def parts() -> ArrCoc:
    return build(configuration.reduced())


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_full_model_has_the_published_numbers_of_parameters() -> None:
    """shared facts: the README and code of djwar42/arr-coc-0-1, and Qwen3-VL-2B-Instruct's configuration."""
    config = configuration.full()
    with without_weights():
        made = assemble(config, Qwen3VLForConditionalGeneration(config.qwen), "none")
    assert count(made.arr.participatory) == 134_016
    assert count(made.arr.balancer) == 280_323
    assert count(made.arr) == 134_016 + 280_323
    assert count(made.qwen) == 2_127_532_032
    assert count(made.qwen.model.visual) == count(made.vision) == 406_957_056
    table = count(made.qwen.get_input_embeddings())
    assert table == 311_164_928
    assert count(made.qwen.get_decoder()) - table == 1_409_410_048
    heads = config.qwen.text_config
    per_token = 2 * heads.num_hidden_layers * heads.num_key_value_heads * heads.head_dim * 2
    assert per_token == 114_688


@pytest.mark.parametrize(("pixels", "merged"), [(224, 49), (512, 256), (1024, 1024)])
def test_an_image_has_as_many_merged_tokens_as_qwen_makes_of_it(pixels: int, merged: int) -> None:
    config = configuration.full(pixels, keep=200)
    assert (config.merged, config.kept) == (merged, min(200, merged))


@pytest.mark.parametrize(
    ("colour", "light", "red_green"),
    [((1, 1, 1), 100.0, 0.0), ((1, 0, 0), 53.24, 80.09), ((0, 1, 0), 87.73, -86.18), ((0, 0, 0), 0.0, 0.0)],
)
def test_lightness_and_red_green_are_those_of_cie_lab(
    colour: tuple[int, int, int], light: float, red_green: float
) -> None:
    """Published L* and a* of the sRGB primaries under D65."""
    flat = torch.tensor(colour, dtype=torch.float32)[None, :, None, None].expand(1, 3, 32, 32)
    array = TextureArray(32, 2)(flat)
    np.testing.assert_allclose(array[0, 3].numpy() * 100, light, atol=0.02)
    np.testing.assert_allclose(array[0, 4].numpy() * 128, red_green, atol=0.02)
    np.testing.assert_array_equal(array[0, 12], array[0, 3])


def test_edges_are_sobels_and_places_run_from_border_to_border() -> None:
    """A ramp of 1/64 a pixel along x: 8/64 over 4 in every inner pixel, and none along y."""
    ramp = (torch.arange(64) / 64).expand(1, 3, 64, 64)
    array = TextureArray(64, 4)(ramp)[0]
    np.testing.assert_allclose(array[5, 1:3, 1:3], 2 / 64, atol=1e-6)
    np.testing.assert_allclose(array[6, 1:3, 1:3], 0, atol=1e-6)
    np.testing.assert_allclose(array[SOBEL_MAGNITUDE, 1:3, 1:3], np.hypot(2 / 64, 1e-3), atol=1e-6)
    np.testing.assert_array_equal(array[11], array[SOBEL_MAGNITUDE])
    np.testing.assert_allclose(array[8, :, 0], [-0.75, -0.25, 0.25, 0.75])
    np.testing.assert_allclose(array[9, 0], [-0.75, -0.25, 0.25, 0.75])
    np.testing.assert_allclose(array[10, 0, 0], np.hypot(0.75, 0.75))


def test_an_image_of_another_size_is_resized_bilinearly() -> None:
    picture = torch.from_numpy(image(96))
    bands = [
        np.asarray(Image.fromarray(band).resize((192, 192), Image.Resampling.BILINEAR))
        for band in picture[0].numpy()
    ]
    want = np.stack(bands).reshape(3, 12, 16, 12, 16).mean((2, 4))
    np.testing.assert_allclose(TextureArray(192, 12)(picture)[0, :3], want, atol=1e-5)


def test_thirteen_equal_channels_have_the_entropy_of_thirteen_choices() -> None:
    np.testing.assert_allclose(information(torch.zeros(1, 13, 2, 2)), np.log(13), rtol=1e-4)


@pytest.mark.parametrize("grid", [7, 16, 32])
def test_scores_come_to_the_merged_grid_by_area(grid: int) -> None:
    """Against a mean over pixels so fine that both grids divide them."""
    cells = np.random.default_rng(3).random((32, 32))
    fine = np.kron(cells, np.ones((grid, grid)))
    want = fine.reshape(grid, 32, grid, 32).mean((1, 3))
    weights = area_weights(32, grid).numpy()
    np.testing.assert_allclose(weights @ cells @ weights.T, want, atol=1e-6)


def test_the_allocator_takes_the_most_relevant_in_reading_order() -> None:
    relevance = np.random.default_rng(2).random((1, 256)).astype(np.float32)
    want = np.sort(np.argsort(relevance[0])[-200:])
    np.testing.assert_array_equal(choose(torch.from_numpy(relevance), 200)[0], want)


def test_an_image_is_scored_alone_and_the_question_changes_what_is_chosen(parts: ArrCoc) -> None:
    picture = torch.from_numpy(image(128))
    embeds = parts.qwen.get_input_embeddings()
    with torch.no_grad():
        one, first = parts.arr(picture, embeds(torch.tensor([[1, 2, 3]])))
        two, second = parts.arr(picture, embeds(torch.tensor([[250, 9, 77]])))
    assert one.shape == two.shape == (1, 10)
    assert float((first - second).abs().max()) > 1e-3
    assert int(one.max()) < 16


def test_patches_are_those_of_qwens_own_processor() -> None:
    config = configuration.reduced()
    picture = (image(128)[0].transpose(1, 2, 0) * 255).astype(np.uint8)
    processor = Qwen2VLImageProcessor(
        do_resize=False, image_mean=[0.5] * 3, image_std=[0.5] * 3, patch_size=16, merge_size=2
    )
    want = processor(Image.fromarray(picture), return_tensors="np")
    got = patchify(picture.transpose(2, 0, 1)[None].astype(np.float32) / 255, config)
    np.testing.assert_array_equal(want["image_grid_thw"], [[1, 8, 8]])
    np.testing.assert_allclose(got, want["pixel_values"], atol=1e-6)


def whole_prompt(parts: ArrCoc, ids: np.ndarray) -> np.ndarray:
    """The text with Qwen's placeholder for every merged token behind its first BEFORE tokens."""
    qwen = parts.config.qwen
    before = ids[:, :BEFORE].copy()
    before[0, -1] = qwen.vision_start_token_id
    places = np.full((1, parts.config.merged), qwen.image_token_id)
    return np.concatenate((before, places, ids[:, BEFORE:]), 1)


def test_with_all_tokens_kept_the_components_compute_what_transformers_does(parts: ArrCoc) -> None:
    """Vision tower, DeepStack, positions and decoder, beside the own forward of Qwen3-VL's class."""
    whole = build(configuration.reduced(keep=99))
    config = whole.config
    assert config.kept == config.merged == 16
    picture, prompt = image(128), whole_prompt(whole, tokens(BEFORE + AFTER))
    pixels = patchify(picture, config)
    reference = parts.qwen
    given = {"input_ids": torch.tensor(prompt), "image_grid_thw": torch.tensor([[1, 8, 8]])}
    with torch.no_grad():
        want = reference(**given, pixel_values=torch.tensor(pixels), attention_mask=torch.ones(prompt.shape))
    places, _ = reference.model.get_rope_index(**given)
    chosen = np.arange(16)[None]
    positions = prompt_positions(BEFORE, chosen, config, AFTER)
    np.testing.assert_array_equal(positions, places)
    modules = {name: part.module for name, part in make_source(whole).components.items()}
    text = np.concatenate((prompt[:, :BEFORE], prompt[:, -AFTER:]), 1)
    with torch.no_grad():
        embeds = modules["embed"](torch.tensor(text)).numpy()
        visual, stack = modules["vision"](torch.tensor(pixels), torch.tensor(chosen))
        hidden, features = assemble_prompt(embeds, BEFORE, visual.numpy(), stack.numpy())
        got = modules["prefill"](
            position_ids=torch.tensor(positions),
            last=torch.tensor([prompt.shape[1] - 1]),
            inputs_embeds=torch.tensor(hidden),
            deepstack=torch.tensor(features),
        )[0]
    assert float(want.logits[0, -1].std()) > 0.1
    np.testing.assert_allclose(got[0, 0], want.logits[0, -1], atol=1e-3)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the commands of the README make, run as they stand there."""
    folder = tmp_path_factory.mktemp("arr_coc")
    block = README.read_text(encoding="utf-8").split("```sh\n")[1].split("```")[0]
    scripts = Path(sys.executable).parent
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
        "EDGEKIT_CACHE": str(folder / "cache"),
    }
    for line in block.strip().splitlines():
        ran = subprocess.run(
            shlex.split(line), cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert ran.returncode == 0, f"{line}\n{ran.stderr}"
    return folder / "bundles"


class Sessions:
    """The five components of one bundle, each opened once in its host runtime."""

    def __init__(self, folder: Path) -> None:
        with open_bundle(folder) as bundle:
            assert bundle.manifest["parity"]
            assert {row["status"] for row in bundle.manifest["parity"]} == {"proven"}
            target = load_targets()[bundle.target]
            self.open = {one.component: target.open(one, bundle.folder) for one in bundle.artifacts}

    def run(self, component: str, **feeds: np.ndarray) -> dict[str, np.ndarray]:
        return self.open[component].run(feeds)


def answer(sessions: Sessions, parts: ArrCoc, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Chosen positions, and logits [STEPS + 1, vocabulary] behind the prompt and each further token."""
    config, picture = parts.config, image(128)
    text = ids[:, : BEFORE + AFTER]
    embeds = sessions.run("embed", input_ids=text)["text_embeds"]
    chosen = sessions.run("arr", image=picture, text_embeds=embeds)["positions"]
    seen = sessions.run("vision", pixel_values=patchify(picture, config), positions=chosen)
    hidden, features = assemble_prompt(embeds, BEFORE, seen["visual_embeds"], seen["deepstack"])
    count = hidden.shape[1]
    out = sessions.run(
        "prefill",
        inputs_embeds=hidden,
        deepstack=features,
        position_ids=prompt_positions(BEFORE, chosen, config, AFTER),
        last=np.array([count - 1]),
    )
    rows = [out["logits"][0, 0]]
    cache = {
        name.replace("new", "past"): np.pad(array, ((0, 0), (0, 0), (0, 48 - count), (0, 0)))
        for name, array in out.items()
        if name != "logits"
    }
    behind = BEFORE + config.grid + AFTER
    for step, token in enumerate(ids[0, BEFORE + AFTER :]):
        out = sessions.run(
            "decode",
            input_ids=np.array([[token]]),
            position_ids=np.full((3, 1, 1), behind + step),
            past_length=np.array([count + step]),
            **cache,
        )
        rows.append(out["logits"][0, 0])
        for name, array in cache.items():
            array[:, :, count + step] = out[name.replace("past", "new")][:, :, 0]
    return chosen, np.stack(rows)


def transformers_logits(parts: ArrCoc, chosen: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """The same rows from transformers' own tower and decoder, all tokens in one pass."""
    qwen, config = parts.qwen, parts.config
    with torch.no_grad():
        pixels = torch.tensor(patchify(image(128), config))
        (visual,), stack = qwen.model.get_image_features(pixels, torch.tensor([[1, 8, 8]]))
        embeds = qwen.get_input_embeddings()(torch.tensor(ids))
        kept = torch.tensor(chosen[0])
        hidden = torch.cat((embeds[:, :BEFORE], visual[kept][None], embeds[:, BEFORE:]), 1)
        mask = torch.zeros(hidden.shape[:2], dtype=torch.bool)
        mask[:, BEFORE : BEFORE + len(kept)] = True
        out = qwen.get_decoder()(
            inputs_embeds=hidden,
            attention_mask=torch.ones(hidden.shape[:2]),
            position_ids=torch.tensor(prompt_positions(BEFORE, chosen, config, AFTER + STEPS)),
            visual_pos_masks=mask,
            deepstack_visual_embeds=[features[kept] for features in stack],
        )
        logits: torch.Tensor = qwen.lm_head(out.last_hidden_state[0, -STEPS - 1 :])
    return logits.numpy()


@pytest.mark.parametrize("device", DEVICES)
def test_from_the_image_to_32_forced_tokens_every_bundle_keeps_to_transformers(
    device: str, bundles: Path, parts: ArrCoc
) -> None:
    ids = tokens(BEFORE + AFTER + STEPS)
    chosen, got = answer(Sessions(bundles / device), parts, ids)
    with torch.no_grad():
        embeds = parts.qwen.get_input_embeddings()(torch.tensor(ids[:, : BEFORE + AFTER]))
        own, _ = parts.arr(torch.tensor(image(128)), embeds)
    np.testing.assert_array_equal(chosen, own)
    want = transformers_logits(parts, chosen, ids)
    assert np.abs(want[1:] - want[:-1]).max(axis=1).min() > 0.1  # each step says something of its own
    assert np.abs(got - want).max() < 1e-3
    others = np.delete(np.arange(16), chosen[0])[None]
    elsewhere = np.sort(np.concatenate((others, chosen[:, :4]), 1))
    assert np.abs(transformers_logits(parts, elsewhere, ids) - want).max() > 1e-2  # the choice matters


def test_a_checkpoint_is_loaded_and_one_that_is_not_whole_is_refused(parts: ArrCoc, tmp_path: Path) -> None:
    parts.qwen.save_pretrained(tmp_path)
    with pytest.raises(SourceError, match=f"{OWN_WEIGHTS}' is missing"):
        build(parts.config, tmp_path)
    own = {name: tensor + 1 for name, tensor in parts.arr.state_dict().items()}
    save_file(own, tmp_path / OWN_WEIGHTS)
    loaded = build(parts.config, tmp_path)
    assert loaded.weights == f"weights of {tmp_path.name}"
    for name, tensor in loaded.arr.state_dict().items():
        assert torch.equal(tensor, own[name])
    save_file({name: own[name] for name in list(own)[1:]}, tmp_path / OWN_WEIGHTS)
    with pytest.raises(SourceError, match="is of another model"):
        build(parts.config, tmp_path)


@pytest.mark.parametrize(
    ("keep", "said"), [(15, "15 of 16 visual"), (16, "no selection"), (200, "no selection")]
)
def test_a_scenario_says_where_nothing_is_selected(keep: int, said: str) -> None:
    text = tomllib.loads(scenario(configuration.reduced(keep=keep), "random"))
    assert said in text["title"]
    assert text["sizes"]["prompt"] == text["sizes"]["text"] + min(keep, 16)
    assert ("arr" in text["component"]) == (keep < 16)


def test_a_page_holds_each_case_on_each_device_with_its_basis(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "full", configuration.reduced)
    monkeypatch.setattr(report, "IMAGES", (128,))
    monkeypatch.setattr(report, "KEEPS", (4, 10, 64))
    monkeypatch.setattr(report, "DEVICES", ("jetson-orin-nano-super", "iphone-16-pro"))
    cases = list(report.estimate_cases(tmp_path))
    assert [(case.chosen, case.precision) for case in cases[::3]] == [
        ("4 of 16", "fp16"),
        ("10 of 16", "fp16"),
        ("all 16 (no selection)", "fp16"),
    ]
    page = render_image(cases)
    titles = tuple(f"| {device.title} |" for device in cases[0].estimate.devices)
    rows = [line for line in page.splitlines() if line.startswith(titles)]
    assert len(rows) == 3 * 3 * 2
    for case in cases:
        for device in case.estimate.devices:
            for figure in device.figures:
                assert figure.kind in ("predicted", "unknown")
                assert f"- {figure.basis}" in page


def test_the_published_page_is_what_the_script_writes_around_its_figures() -> None:
    page = (ROOT / "docs/arr-coc-0-1/index.md").read_text(encoding="utf-8")
    for text in TEXTS:
        assert text in page
    known = {device.name: device.title for device in list_devices()}
    for name in report.DEVICES:
        assert f"| {known[name]} |" in page


def test_a_goal_is_judged_by_the_whole_interval() -> None:
    def figure(value: float | None, low: float, high: float) -> Measurement:
        return Measurement("latency", value, "ms", "predicted", "-", (low, high))

    assert below(figure(10, 5, 20), 50) == "yes"
    assert below(figure(40, 5, 60), 50) == "likely"
    assert below(figure(60, 40, 90), 50) == "unlikely"
    assert below(figure(90, 60, 120), 50) == "no"
    assert below(figure(90, 0, 90), 50) == "unknown"  # an upper limit, no expectation
    assert below(figure(None, 0, 0), 50) == below(None, 50) == "unknown"
