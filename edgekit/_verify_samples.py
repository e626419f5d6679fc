"""Proves a bundle on any number of samples: each artifact beside the fp32 one that lies in the bundle."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from edgekit.errors import BundleError, CannotRunHere, UsageError
from edgekit.registry import target_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

    from edgekit._bundle import Bundle, BundleProof
    from edgekit._recipe import Recipe
    from edgekit._results import Parity
    from edgekit._signers import Trusted
    from edgekit._tasks import Metric
    from edgekit._values import Artifact, Progress, TensorInfo
    from edgekit._verify import GoldenSample
    from edgekit.calibration.samples import Samples
    from edgekit.target import Session, Target


class VerifyOptions(TypedDict, total=False):
    """What `verify` takes, each as in `Recipe`; without samples the golden data alone are run."""

    samples: str | Path | Callable[..., Any] | None
    preprocess: str | Mapping[str, Any] | None
    limit: int | None
    metric: str | None
    vocabulary: str | Path | None
    gate: Mapping[str, Any]


@dataclass(frozen=True)
class Place:
    """on: another place to run it at (`qemu-arm64`), "" for this host itself. signed_by: None: anybody."""

    on: str = ""
    signed_by: Trusted | None = None


def prove(
    path: Path, recipe: Recipe, targets: Mapping[str, Target], progress: Progress, *, at: Place
) -> BundleProof:
    """The proof of a bundle on its golden data, or on the recipe's samples where it names some.

    Every byte is checked first, and the signature where one is asked for. Raises BundleError, TargetError,
    SamplesError; UsageError where the bundle holds no fp32 artifact to compare with.
    """
    from edgekit._bundle import BundleProof, open_bundle, prove_bundle
    from edgekit._signature import check_signature
    from edgekit._verify_on import prove_on

    progress("check every byte", 0, None)
    with open_bundle(path) as bundle:
        if at.signed_by is not None:
            check_signature(bundle.folder, path, at.signed_by)
        if at.on:
            if recipe.samples is not None:
                raise UsageError("--on runs the golden data only", fix="leave --samples out")
            return prove_on(at.on, bundle, targets, gate=recipe.gate, progress=progress)
        if recipe.samples is None:
            if recipe.metric is not None:
                raise UsageError("a metric needs labelled samples", fix="add --samples DATA")
            progress("run the golden samples", 0, None)
            return prove_bundle(bundle, targets, gate=recipe.gate)
        target = target_of(targets, bundle.target)
        parities = tuple(
            _prove_artifact(artifact, bundle, target=target, recipe=recipe, progress=progress)
            for artifact in bundle.artifacts
        )
        device = str(bundle.manifest["device"]["name"])
        return BundleProof(bundle.digest, bundle.target, device, parities, tuple(bundle.manifest["warnings"]))


def _prove_artifact(
    artifact: Artifact, bundle: Bundle, *, target: Target, recipe: Recipe, progress: Progress
) -> Parity:
    from edgekit._tasks import score_task
    from edgekit._verify import Streamed, gate_for, unproven, verify_samples

    try:
        session = target.open(artifact, bundle.folder)
        fp32 = target.open(_fp32_of(artifact, bundle), bundle.folder)
    except CannotRunHere as reason:
        return unproven(artifact, str(reason))
    samples = _open_samples(artifact, bundle, recipe)
    task = None
    if recipe.metric is not None and artifact.variant != "fp32":
        task = score_task(session, fp32, samples, metric=open_metric(recipe))
    stage = f"verify {artifact.component} {artifact.variant}"
    expected = _expected(samples, fp32, stage=stage, progress=progress)
    gate = gate_for(artifact.variant, recipe.gate)
    scores = bundle.stored_golden(artifact.component).scores
    return verify_samples(session, artifact, samples=Streamed(expected, scores), gate=gate, task=task)


def open_metric(recipe: Recipe, own: Mapping[str, str] | None = None) -> Metric:
    """The metric a recipe names, with the vocabulary it names, else the one in the model's `own` metadata."""
    from edgekit._tasks import CHARACTER_KEY, load_metric, read_vocabulary, vocabulary_of

    vocabulary = read_vocabulary(Path(recipe.vocabulary)) if recipe.vocabulary else ()
    if not vocabulary and own is not None and CHARACTER_KEY in own:
        vocabulary = vocabulary_of(own)
    return load_metric(recipe.metric or "", vocabulary=vocabulary)


def _expected(samples: Samples, fp32: Session, *, stage: str, progress: Progress) -> Iterator[GoldenSample]:
    """Each sample with the fp32 artifact's outputs, one in memory at a time."""
    from edgekit._verify import Expected

    expected = Expected(fp32)
    for done, sample in enumerate(samples, 1):
        yield expected.sample(sample.feeds)
        progress(stage, done, len(samples))


def _fp32_of(artifact: Artifact, bundle: Bundle) -> Artifact:
    for other in bundle.artifacts:
        if (other.component, other.variant) == (artifact.component, "fp32"):
            return other
    raise UsageError(
        "the bundle holds no fp32 artifact to compare samples with",
        fix="verify it without --samples (golden data), or convert again with --precision fp32 added",
    )


def open_expected(
    component: str, bundle: Bundle, recipe: Recipe, *, targets: Mapping[str, Target], progress: Progress
) -> Iterator[GoldenSample]:
    """The recipe's samples for a component with what its fp32 artifact (else its first) gives for them here.

    CannotRunHere where this host cannot run it.
    """
    variants = [one for one in bundle.artifacts if one.component == component]
    target = target_of(targets, bundle.target)
    artifact = next((one for one in variants if one.variant == "fp32"), variants[0])
    session = target.open(artifact, bundle.folder)
    samples = _open_samples(artifact, bundle, recipe)
    return _expected(samples, session, stage=f"run the samples through {component}", progress=progress)


def _open_samples(artifact: Artifact, bundle: Bundle, recipe: Recipe) -> Samples:
    from edgekit.calibration.preprocess import parse_preprocess
    from edgekit.calibration.samples import load_samples

    spec = None if recipe.preprocess is None else parse_preprocess(recipe.preprocess)
    inputs = _inputs(artifact.component, bundle)
    return load_samples(recipe.samples or "", inputs, preprocess=spec, limit=recipe.limit)


def _inputs(component: str, bundle: Bundle) -> list[TensorInfo]:
    """A component's inputs as the manifest names them."""
    from edgekit._values import TensorInfo

    for row in bundle.manifest["components"]:
        if row["name"] == component:
            return [
                TensorInfo(item["name"], item["dtype"], tuple(item["shape"]), item["layout"])
                for item in row["inputs"]
            ]
    raise BundleError("an artifact belongs to no component of the manifest", fix="convert again")
