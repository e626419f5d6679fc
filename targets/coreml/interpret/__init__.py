"""A Core ML program (.mlpackage) read back from disk and evaluated with numpy, on any host."""

from __future__ import annotations

from edgekit.targets.coreml.interpret.session import MilSession

__all__ = ["MilSession"]
