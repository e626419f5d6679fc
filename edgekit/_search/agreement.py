"""How often a session decides as fp32 does: the letters that a recognizer writes, the classes of all else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit._search.close_calls import CloseCalls, tells_one_class
from edgekit._tasks import CHARACTER_KEY, decode_ctc, vocabulary_of
from edgekit._verify import OutputComparison
from edgekit._verify.metrics import edit_distance
from edgekit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import onnx_ir as ir

    Arrays = Mapping[str, np.ndarray]


class Agreement:
    """Counts over any number of samples, an output at a time; the worst output is what a session loses."""

    def __init__(self, scores: frozenset[str], texts: Mapping[str, Sequence[str]]) -> None:
        """scores: outputs whose rows are decisions. texts: outputs that are texts -> their characters."""
        self._scores = scores
        self._rows: dict[str, OutputComparison] = {}
        self._calls: dict[str, CloseCalls] = {}
        self._texts = {name: _Letters(characters) for name, characters in texts.items()}

    def add(self, got: Arrays, expected: Arrays) -> None:
        """One sample's outputs."""
        for name, value in expected.items():
            if name in self._texts:
                self._texts[name].add(got[name], value)
            else:
                self._rows.setdefault(name, OutputComparison(name, self._scores)).add(got[name], value)
                if name in self._scores and tells_one_class(value):
                    self._calls.setdefault(name, CloseCalls()).add(got[name], value)

    @property
    def losses(self) -> list[float]:
        """The share of decisions that differ so far, an entry for each output that held any."""
        losses = [comparison.result().top1_loss for comparison in self._rows.values()]
        losses += [letters.loss for letters in self._texts.values()]
        return [loss for loss in losses if loss is not None]

    @property
    def loss(self) -> float:
        """The worst of `losses`; UsageError where no output held any decision."""
        if not self.losses:
            raise UsageError(
                "--max-drop: no output tells classes whose agreement could be counted",
                fix="name a metric that judges the model: --metric module:function",
            )
        return max(self.losses)

    @property
    def foretold(self) -> tuple[float, float]:
        """Of other samples than these, what `CloseCalls` foretells: (changes, loss) of the worst output."""
        found = list(self._calls.values())
        changes = max((calls.changes for calls in found), default=0.0)
        return changes, max((calls.loss for calls in found), default=0.0)


class _Letters:
    """Edits between the texts of two sessions; a letter seen a step earlier, or a border's space, is none."""

    def __init__(self, characters: Sequence[str]) -> None:
        self._characters = characters
        self._edits = self._letters = 0

    def add(self, got: np.ndarray, expected: np.ndarray) -> None:
        """One [N, T, C] output."""
        for mine, theirs in zip(got, expected, strict=True):
            wanted, read = (decode_ctc(scores, self._characters).strip() for scores in (theirs, mine))
            self._edits += edit_distance(read, wanted)
            self._letters += len(wanted)

    @property
    def loss(self) -> float | None:
        """Edits a letter of fp32's, at most 1; None where both read nothing."""
        if not self._letters:
            return 1.0 if self._edits else None
        return min(1.0, self._edits / self._letters)


def find_texts(model: ir.Model, metadata: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Outputs [N, T, C] that are texts by CTC, for a model that carries its characters; -> the characters."""
    if CHARACTER_KEY not in metadata:
        return {}
    characters = vocabulary_of(metadata)
    classes = (len(characters) + 1, len(characters) + 2)  # the blank, and with some a space
    return {
        str(value.name): characters
        for value in model.graph.outputs
        if value.shape is not None and len(value.shape) == 3 and value.shape[2] in classes
    }
