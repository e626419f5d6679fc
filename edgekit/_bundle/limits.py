"""How large a bundle may be: checked before anything is unpacked or allocated."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Caps on a bundle that somebody else made.

    An archive may hold `ratio` times its own size (deflate reaches 1032), and up to
    `small_bytes` in any case.
    """

    manifest_bytes: int = 16 << 20
    files: int = 10_000
    total_bytes: int = 32 << 30
    tensor_bytes: int = 2 << 30
    ratio: int = 100
    small_bytes: int = 1 << 30

    def unpacked(self, archive_bytes: int) -> int:
        """The most bytes that an archive of this size may unpack to."""
        return min(self.total_bytes, max(self.small_bytes, self.ratio * archive_bytes))
