"""A decoder driven with given tokens, its own cache fed back: the logits of every step beside fp32's."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from edgekit._results import FORCED_STEPS, GREEDY_STEPS
from edgekit._verify.gate import check_fp32
from edgekit._verify.metrics import OutputComparison
from edgekit._verify.pieces import PiecewiseSession

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from edgekit._results import Parity
    from edgekit._values import Artifact
    from edgekit._verify.gate import Gate
    from edgekit._verify.golden import Golden, GoldenSample
    from edgekit.target import Session

    Arrays = dict[str, np.ndarray]

STEPS = 32
# Of a model that is run piece by piece, where every step reads gigabytes of weights anew.
FEW_STEPS = 2
# Of fp32's largest logit (1 at least). Reduced-size Qwen3 decoders stay within 1e-5 on ONNX Runtime and
# LiteRT; a frozen position or a zeroed cache moves them by 0.1 and more.
STEP_ERROR = 1e-3
_PROMPT = 5
_SEED = 20
_PAST, _NEW = "past_", "new_"
_LENGTH, _LAST = "past_length", "last"


@dataclass(frozen=True)
class Decoder:
    """Which components make a decoder, one set of inputs of each for shapes and dtypes, and its vocabulary.

    decode takes `input_ids` [1, 1], `position_ids`, `past_length` and caches `past_X` [.., places, ..]
    on axis 2, and gives `logits` and `new_X`. prefill, where there is one that takes token ids, has
    `input_ids` [1, prompt], `position_ids` and `last` in place of the cache.
    """

    decode: str
    prefill: str | None
    step: Arrays
    prompt: Arrays
    vocabulary: int

    @property
    def places(self) -> int:
        """How many tokens the cache holds."""
        return int(min(self.step[name].shape[2] for name in self.caches))

    @property
    def caches(self) -> list[str]:
        return sorted(name for name in self.step if name.startswith(_PAST) and name != _LENGTH)


@dataclass(frozen=True)
class ForcedSequence:
    """Tokens [n], the first `prompt` of them given at once; fp32's logits [n - prompt + 1, vocabulary].

    greedy_tokens, greedy_logits: the same prompt, continued by what fp32 itself thinks likeliest; None where
    weights are drawn when they are read.
    """

    decode: str
    prefill: str | None
    prompt: int
    tokens: np.ndarray
    logits: np.ndarray
    greedy_tokens: np.ndarray | None = None
    greedy_logits: np.ndarray | None = None

    def runs(self) -> list[tuple[str, np.ndarray, np.ndarray]]:
        """What to call each run, its tokens, and fp32's logits."""
        found = [(f"logits of {len(self.logits)} {FORCED_STEPS}", self.tokens, self.logits)]
        if self.greedy_tokens is not None and self.greedy_logits is not None:
            name = f"logits of {len(self.greedy_logits)} {GREEDY_STEPS}"
            found.append((name, self.greedy_tokens, self.greedy_logits))
        return found


def find_decoder(golden: Mapping[str, Golden]) -> Decoder | None:
    """The decoder among components, told by the names of inputs and outputs; None where there is none."""
    samples = {name: one.samples[0] for name, one in golden.items() if one.samples}
    for name, sample in samples.items():
        if not _is_decode(sample):
            continue
        new = {output for output in sample.fp32 if output.startswith(_NEW)}
        prefill = next(
            (
                other
                for other, one in samples.items()
                if {"input_ids", "position_ids", _LAST} == set(one.feeds) and new <= set(one.fp32)
            ),
            None,
        )
        prompt = {} if prefill is None else dict(samples[prefill].feeds)
        vocabulary = sample.fp32["logits"].shape[-1]
        return Decoder(name, prefill, dict(sample.feeds), prompt, vocabulary)
    return None


def _is_decode(sample: GoldenSample) -> bool:
    feeds, outputs = sample.feeds, sample.fp32
    caches = [name for name in feeds if name.startswith(_PAST) and name != _LENGTH]
    return (
        {"input_ids", "position_ids", _LENGTH} <= set(feeds)
        and len(feeds) == len(caches) + 3
        and feeds["input_ids"].shape == (1, 1)
        and bool(caches)
        and all(feeds[name].ndim == 4 and name.replace(_PAST, _NEW, 1) in outputs for name in caches)
        and "logits" in outputs
    )


def make_sequence(
    decoder: Decoder, fp32: Mapping[str, Session], *, drawn: bool = False
) -> ForcedSequence | None:
    """Seeded tokens and what fp32 gives for them; None where the cache has no room for a step.

    A random-weight model repeats itself, so the tokens are drawn. What the model itself goes on with stands
    beside them, unless its weights are drawn too (`drawn`).
    """
    room = decoder.places
    wanted = FEW_STEPS if isinstance(fp32[decoder.decode], PiecewiseSession) else STEPS
    most = decoder.prompt["input_ids"].shape[1] if decoder.prefill else room
    prompt = max(1, min(_PROMPT, most, room - 1)) if decoder.prefill else 1
    steps = min(wanted, room - prompt)
    if steps < 1:
        return None
    tokens = np.random.default_rng(_SEED).integers(0, decoder.vocabulary, prompt + steps)
    logits = drive(decoder, fp32, tokens, prompt)
    made = ForcedSequence(decoder.decode, decoder.prefill, prompt, tokens, logits)
    if drawn:
        return made
    own = drive(decoder, fp32, tokens[:prompt], prompt, steps=steps)
    chosen = np.concatenate((tokens[:prompt], own[:-1].argmax(-1)))
    return replace(made, greedy_tokens=chosen, greedy_logits=own)


def drive(
    decoder: Decoder, sessions: Mapping[str, Session], tokens: np.ndarray, prompt: int, *, steps: int = 0
) -> np.ndarray:
    """Logits [tokens - prompt + 1, vocabulary]: behind the prompt, then behind each token given.

    The cache is what the sessions themselves gave; without prefill the decode step reads the prompt too.
    steps: behind the given tokens so many greedy ones, each the likeliest by the logits before it.
    """
    given = np.concatenate((tokens, np.zeros(steps, tokens.dtype)))
    cache = {name: np.zeros_like(decoder.step[name]) for name in decoder.caches}
    rows: list[np.ndarray] = []
    first = 0
    if decoder.prefill is not None:
        out = sessions[decoder.prefill].run(_prompt_feeds(decoder, given[:prompt]))
        rows.append(_logits(out))
        _keep(cache, out, 0, prompt)
        first = prompt
    for place in range(first, len(given)):
        if place >= len(tokens):
            given[place] = rows[-1].argmax()
        out = sessions[decoder.decode].run(_step_feeds(decoder, cache, given, place))
        _keep(cache, out, place, 1)
        if place >= prompt - 1:
            rows.append(_logits(out))
    return np.stack(rows)


def _prompt_feeds(decoder: Decoder, tokens: np.ndarray) -> Arrays:
    """The prompt, padded at its end to the size that the component takes."""
    like = decoder.prompt
    ids = np.zeros_like(like["input_ids"])
    ids[0, : len(tokens)] = tokens
    places = np.arange(ids.shape[1], dtype=like["position_ids"].dtype)
    return {
        "input_ids": ids,
        "position_ids": np.broadcast_to(places, like["position_ids"].shape).copy(),
        _LAST: np.full_like(like[_LAST], len(tokens) - 1),
    }


def _step_feeds(decoder: Decoder, cache: Arrays, tokens: np.ndarray, place: int) -> Arrays:
    like = decoder.step
    return {
        "input_ids": np.full_like(like["input_ids"], tokens[place]),
        "position_ids": np.full_like(like["position_ids"], place),
        _LENGTH: np.full_like(like[_LENGTH], place),
        **{name: array.copy() for name, array in cache.items()},
    }


def _keep(cache: Arrays, out: Mapping[str, np.ndarray], place: int, count: int) -> None:
    for name, array in cache.items():
        new = np.asarray(out[name.replace(_PAST, _NEW, 1)])
        if place + count <= array.shape[2]:
            array[:, :, place : place + count] = new[:, :, :count]


def _logits(out: Mapping[str, np.ndarray]) -> np.ndarray:
    return np.asarray(out["logits"], np.float32).reshape(-1)


def prove_steps(
    proofs: Sequence[tuple[Artifact, Parity]],
    sequence: ForcedSequence,
    decoder: Decoder,
    *,
    open_session: Callable[[Artifact], Session],
    gate: Callable[[Artifact], Gate],
) -> list[Parity]:
    """The parities, those of proven decode artifacts with their logits over the steps, held to the same gate.

    Each decode artifact is driven together with the prefill artifact of its variant. A float32 one may also
    differ by no more than STEP_ERROR at any step.
    """
    mates = {artifact.variant: artifact for artifact, _ in proofs if artifact.component == decoder.prefill}
    judged = []
    for artifact, parity in proofs:
        if artifact.component != decoder.decode or parity.status != "proven":
            judged.append(parity)
            continue
        sessions = {decoder.decode: open_session(artifact)}
        if decoder.prefill is not None:
            sessions[decoder.prefill] = open_session(mates[artifact.variant])
        for name, tokens, logits in sequence.runs():
            got = drive(decoder, sessions, tokens, sequence.prompt)
            parity = _judge(parity, name, got, logits, gate(artifact))  # noqa: PLW2901  # row by row
        judged.append(parity)
    return judged


def _judge(parity: Parity, name: str, got: np.ndarray, logits: np.ndarray, gate: Gate) -> Parity:
    comparison = OutputComparison(name)
    for row, want in zip(got, logits, strict=True):
        comparison.add(row[None], want[None])
    found = comparison.result()
    failures = check_fp32([found], gate, None)
    share = found.max_abs / max(1.0, float(np.abs(logits).max()))
    if parity.variant == "fp32" and not share <= STEP_ERROR:
        failures.append(
            f"output '{name}': {share:.2g} of the range from fp32, above {STEP_ERROR:g}: the cache or the "
            "positions do not get through"
        )
    return replace(
        parity,
        against_fp32=(*parity.against_fp32, found),
        gate_failures=(*parity.gate_failures, *failures),
    )


def fits(sequence: ForcedSequence, decoder: Decoder) -> bool:
    """Whether a stored sequence is one of this decoder: names, ranks and lengths."""
    most = decoder.prompt["input_ids"].shape[1] if decoder.prefill else decoder.places
    return (
        (sequence.decode, sequence.prefill) == (decoder.decode, decoder.prefill)
        and 1 <= sequence.prompt <= most
        and all(_fits(tokens, logits, sequence.prompt, decoder) for _, tokens, logits in sequence.runs())
    )


def _fits(tokens: np.ndarray, logits: np.ndarray, prompt: int, decoder: Decoder) -> bool:
    return (
        tokens.ndim == 1
        and tokens.dtype.kind == "i"
        and logits.ndim == 2
        and logits.shape[1] == decoder.vocabulary
        and prompt <= len(tokens) <= decoder.places + 1
        and len(logits) == len(tokens) - prompt + 1
    )
