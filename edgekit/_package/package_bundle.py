"""One bundle into one folder of a platform's form, put in place in one rename."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING, cast

from edgekit._bundle import open_bundle
from edgekit._bundle.staging import put_in_place, staged
from edgekit._package.choose_artifacts import choose_artifacts, choose_one, tell_left_out
from edgekit._package.job import PackageJob, PackageWords
from edgekit._profile import find_profiles
from edgekit.errors import OutputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edgekit._bundle import Bundle

    # Writes a job into an empty folder; returns lines to tell.
    Writer = Callable[[PackageJob, Path], list[str]]

# Form -> the module and function that write it.
FORMATS = {
    "azureml": "edgekit._package.azureml:write_azureml",
    "mlflow": "edgekit._package.mlflow_model:write_mlflow",
    "oci": "edgekit._package.oci:write_oci",
    "ortpackage": "edgekit._package.ortpackage:write_ortpackage",
    "sagemaker": "edgekit._package.sagemaker:write_sagemaker",
    "triton": "edgekit._package.triton:write_triton",
}
# Forms that hold the bundle as it is, seal and all.
_WHOLE = ("oci",)
# Forms that hold one model.
_SINGLE = ("azureml", "mlflow")
# Word -> the forms that take it.
_ONLY = {
    "container": ("sagemaker",),
    "image": ("sagemaker",),
    "instance_type": ("azureml", "sagemaker"),
    "model_data": ("sagemaker",),
    "role": ("sagemaker",),
}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")


@dataclass(frozen=True)
class PackageResult:
    """Where the package lies, the bundle it is of, and the lines a user should read."""

    form: str
    output: Path
    bundle: str
    files: tuple[str, ...]
    notes: tuple[str, ...]


def package_bundle(path: Path, form: str, output: Path, words: PackageWords) -> PackageResult:
    """Write the bundle at `path` as `form` into the new folder `output`.

    Raises UsageError for an unknown form, option or variant, BundleError for a bundle that is not as sealed,
    TargetError where the platform has no runtime for the bundle's files, OutputError where `output` exists
    or cannot be written.
    """
    write = _find_writer(form)
    _check_words(form, words)
    if os.path.lexists(output):
        raise OutputError(
            f"output '{output}' exists", fix="name another folder with -o; it was left as it is"
        )
    with open_bundle(path) as bundle:
        job = make_job(path, bundle, form, words)
        with staged(output) as stage:
            notes = write(job, stage)
            files = sorted(item.relative_to(stage).as_posix() for item in stage.rglob("*") if item.is_file())
            put_in_place(stage, output)
        if form not in _WHOLE and not words.get("variants"):
            notes += tell_left_out(bundle, form, job.artifacts)
        return PackageResult(form, output, bundle.digest, tuple(files), tuple(notes))


def make_job(path: Path, bundle: Bundle, form: str, words: PackageWords) -> PackageJob:
    """What the form's writer needs of the bundle that was opened from `path`; errors as `package_bundle`."""
    name = words.get("name") or _default_name(bundle)
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"'{name[:80]}' cannot name a model", fix="use letters, digits, '.', '_' and '-', 63 at most"
        )
    chosen = choose_artifacts(bundle, form, words)
    profiles = find_profiles(path, bundle.digest)
    if form in _SINGLE or (form == "sagemaker" and words.get("container", "single") == "single"):
        chosen = choose_one(bundle, chosen, form, words, profiles)
    return PackageJob(bundle, chosen, name, profiles[-1] if profiles else None, words)


def _check_words(form: str, words: PackageWords) -> None:
    for name in words:
        if name not in PackageWords.__annotations__:
            known = ", ".join(PackageWords.__annotations__)
            raise UsageError(f"package has no option '{name}'", fix=f"it has: {known}")
        if form not in _ONLY.get(name, FORMATS):
            raise UsageError(
                f"{form} takes no --{name.replace('_', '-')}", fix=f"it is for {', '.join(_ONLY[name])}"
            )
    if form in _WHOLE and (words.get("variants") or words.get("component")):
        raise UsageError(f"{form} holds the whole bundle", fix="leave --variant and --component out")


def _find_writer(form: str) -> Writer:
    if form not in FORMATS:
        near = get_close_matches(form, FORMATS, n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise UsageError(f"'{form}' is no package form", fix=f"{hint}known: {', '.join(FORMATS)}")
    module, _, function = FORMATS[form].partition(":")
    return cast("Writer", getattr(import_module(module), function))


def _default_name(bundle: Bundle) -> str:
    """The component's name where there is one, else the device's."""
    components = [str(row["name"]) for row in bundle.manifest["components"]]
    return components[0] if len(components) == 1 else str(bundle.manifest["device"]["name"])
