"""What a writer of a package form is given, and the words that a user may say about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgekit._bundle import Bundle
    from edgekit._profile import Profile
    from edgekit._values import Artifact


class PackageWords(TypedDict, total=False):
    """What `package` takes besides bundle, form and place.

    Of all forms: `name` of the model there, `variants` and `component` to choose artifacts. Of clouds, what
    only the user knows: `instance_type`; of SageMaker also `container` (`single`, `multi`, `triton`), its
    `image`, the `role` it runs as, and `model_data`, the folder in a bucket where the archive will lie.
    """

    name: str
    variants: str | Sequence[str]
    component: str
    instance_type: str
    container: str
    image: str
    role: str
    model_data: str


@dataclass(frozen=True)
class PackageJob:
    """The checked bundle, those of its artifacts that go in, and the model's name in the package.

    `profile`: the newest one of this very bundle, where one lies beside it.
    """

    bundle: Bundle
    artifacts: tuple[Artifact, ...]
    name: str
    profile: Profile | None = None
    words: PackageWords = field(default_factory=PackageWords)
