"""Going on with a run that broke off: the turns it had, if it was the same run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit._device_tool import ToolTimes
from edgekit._profile.heard import Round
from edgekit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgekit._profile.heard import Heard
    from edgekit._profile.values import ArtifactProfile, Profile


def count_turns(earlier: Profile | None) -> int:
    """Turns that every artifact has had: a turn that only some had is run again, for all."""
    return 0 if earlier is None else min((len(one.turns) for one in earlier.artifacts), default=0)


def refuse_other_run(earlier: Profile, now: Profile) -> None:
    """UsageError where `earlier` is complete, or of another bundle, place, artifact or length."""
    kinds = {
        "bundle": (earlier.bundle, now.bundle),
        "place": (earlier.place, now.place),
        "artifacts": (_names(earlier.artifacts), _names(now.artifacts)),
        "conditions": (dict(earlier.conditions), dict(now.conditions)),
    }
    if earlier.complete:
        raise UsageError("the profile to resume is complete", fix="measure again without --resume")
    for kind, (before, after) in kinds.items():
        if before != after:
            raise UsageError(
                f"the profile to resume has other {kind}: {before}, not {after}",
                fix="give the same bundle, place and options as that run had",
            )


def recall_turns(heard: Heard, earlier: Profile) -> None:
    """Put the turns that all artifacts had in front of what will be heard."""
    kept = count_turns(earlier)
    for index, artifact in enumerate(earlier.artifacts):
        rounds = heard.workers[index].rounds
        for told in artifact.told[:kept]:
            ms = {name: value for name, value in told.items() if name != "count"}
            times = ToolTimes(int(told["count"]), ms)
            rounds.append(Round(0.0, 0.0, [], 0, earlier=True, told=times))
        latencies = iter(artifact.latencies_ms)
        for runs in () if artifact.told else artifact.turns[:kept]:
            ns = [round(next(latencies) * 1e6) for _ in range(runs)]
            rounds.append(Round(0.0, 0.0, ns, 0, earlier=True))


def _names(artifacts: Sequence[ArtifactProfile]) -> list[tuple[str, str]]:
    return [(one.component, one.variant) for one in artifacts]
