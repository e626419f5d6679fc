"""A sealed bundle in the form that a serving platform takes; nothing is converted again."""

from edgekit._package.job import PackageWords
from edgekit._package.package_bundle import FORMATS, PackageResult, package_bundle
from edgekit._package.push import PullResult, PushResult, pull_bundle, push_bundle

__all__ = [
    "FORMATS",
    "PackageResult",
    "PackageWords",
    "PullResult",
    "PushResult",
    "package_bundle",
    "pull_bundle",
    "push_bundle",
]
