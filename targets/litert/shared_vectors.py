"""A flatbuffer builder that writes equal vectors once: shapes, scales and above all zero-points repeat."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray


def make_builder(flatbuffers: Any, size: int) -> Any:
    """A flatbuffers.Builder of `size` bytes to begin with; a table may point at a vector of another one."""

    class Sharing(flatbuffers.Builder):  # type: ignore[misc]  # flatbuffers has no types
        def __init__(self) -> None:
            super().__init__(size)
            self.known: dict[tuple[str, bytes], int] = {}

        def CreateNumpyVector(self, x: NDArray[Any]) -> int:  # noqa: N802 - the builder's name
            key = (x.dtype.str, x.tobytes())
            if key not in self.known:
                self.known[key] = super().CreateNumpyVector(x)
            return self.known[key]

    return Sharing()
