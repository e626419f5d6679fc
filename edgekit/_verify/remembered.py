"""A session that answers what it was asked before without running again."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from edgekit._verify.golden import run_all
from edgekit._verify.sessions import OrtSession

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from edgekit.target import Session


@dataclass(frozen=True, eq=False)
class RememberedSession:
    """A session that runs each set of inputs once."""

    session: Session
    known: dict[str, dict[str, np.ndarray]]

    def run(self, feeds: Mapping[str, np.ndarray], taps: Sequence[str] = ()) -> dict[str, np.ndarray]:
        entry = _entry(feeds, taps)
        if entry not in self.known:
            self.known[entry] = self.session.run(feeds, taps)
        return self.known[entry]

    def run_all(self, samples: Sequence[Mapping[str, np.ndarray]]) -> list[dict[str, np.ndarray]]:
        entries = [_entry(feeds) for feeds in samples]
        new = {entry: feeds for entry, feeds in zip(entries, samples, strict=True) if entry not in self.known}
        if new:
            self.known.update(zip(new, run_all(self.session, list(new.values())), strict=True))
        return [self.known[entry] for entry in entries]


@dataclass(frozen=True)
class ResumedSession:
    """The session behind a memory, from where that stands: what it ran before counts as its first run.

    Asked the same again, it runs again. What it runs itself is not kept: a task metric asks for every sample.
    """

    memory: RememberedSession
    _told: set[str] = field(default_factory=set)

    def run(self, feeds: Mapping[str, np.ndarray], taps: Sequence[str] = ()) -> dict[str, np.ndarray]:
        entry = _entry(feeds, taps)
        kept = None if entry in self._told else self.memory.known.get(entry)
        self._told.add(entry)
        return self.memory.session.run(feeds, taps) if kept is None else kept


def resume(memory: RememberedSession, model: Path) -> ResumedSession | None:
    """The session in `memory` where it holds the very bytes of the file `model`, weights and all."""
    digest = memory.session.digest if isinstance(memory.session, OrtSession) else None
    if digest is None or hashlib.sha256(model.read_bytes()).hexdigest() != digest:
        return None
    return ResumedSession(memory)


def _entry(feeds: Mapping[str, np.ndarray], taps: Sequence[str] = ()) -> str:
    """What tells one set of inputs, and what is asked of them, from every other."""
    digest = hashlib.sha256()
    for name in sorted(feeds):
        digest.update(f"{name} {feeds[name].dtype} {feeds[name].shape} ".encode())
        digest.update(np.ascontiguousarray(feeds[name]).tobytes())
    return f"{digest.hexdigest()} {' '.join(taps)}"
