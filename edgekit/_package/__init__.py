"""A sealed bundle in the form that a serving platform takes; nothing is converted again."""

from edgekit._package.package_bundle import FORMATS, PackageResult, PackageWords, package_bundle

__all__ = ["FORMATS", "PackageResult", "PackageWords", "package_bundle"]
