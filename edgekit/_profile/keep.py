"""One profile as a user asks for it: words become options, the result is judged and kept."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from edgekit._bundle import host_figures, open_bundle
from edgekit._profile.judge import judge_profile
from edgekit._profile.measurements import load_profile, profiles_folder, save_profile
from edgekit._profile.profile_bundle import profile_bundle
from edgekit._profile.values import ProfileOptions
from edgekit._recipe_file import read_limits
from edgekit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgekit._profile.values import Profile
    from edgekit._results import Verdict
    from edgekit._values import Progress
    from edgekit.target import Target

_UNITS_S = {"ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([a-z]+)")
_LONGEST_S = 24 * 3600.0
_MOST_RUNS = 1_000_000


class ProfileWords(TypedDict, total=False):
    """What `profile` takes. Durations are texts as `30s`, `10m`; `output` is the JSON file to keep it in."""

    components: str | Sequence[str]
    variants: str | Sequence[str]
    runs: int
    warm_up: int
    duration: str
    soak: str
    threads: int
    power_mode: str | None
    idle: str
    patience: str
    python: str
    tool: str | Path
    accelerator: str
    keep: str
    power_csv: str | Path
    resume: str | Path
    budget: str | Mapping[str, object] | None
    recipe: str | Path
    output: str | Path | None


@dataclass(frozen=True)
class ProfileResult:
    """A profile, where it is kept, and what it says of the budget."""

    profile: Profile
    file: Path
    verdicts: tuple[Verdict, ...]

    @property
    def passed(self) -> bool:
        """The run was complete and no measured figure breaks a limit."""
        broken = any(verdict.status == "does not fit" for verdict in self.verdicts)
        return self.profile.complete and not broken


def profile_and_keep(
    bundle: Path,
    place: str,
    words: ProfileWords,
    *,
    targets: Mapping[str, Target],
    progress: Progress,
) -> ProfileResult:
    """`profile_bundle`, judged and written; UsageError for words that are none of ProfileWords."""
    limits = read_limits(words.get("budget"), words.get("recipe"))
    options = _options(words)
    with open_bundle(bundle) as opened:
        host = host_figures(opened) if limits else ()
        components = {one.component for one in opened.artifacts}
    profile = profile_bundle(bundle, place, options=options, targets=targets, progress=progress)
    given = words.get("output")
    file = Path(given) if given is not None else _beside(bundle, profile)
    save_profile(profile, file)
    return ProfileResult(profile, file, judge_profile(profile, components, limits, host))


def _beside(bundle: Path, profile: Profile) -> Path:
    """`<bundle>.profiles/<place>-<time>.json`: never inside the sealed bundle."""
    label = re.sub(r"[^A-Za-z0-9.]+", "-", f"{profile.place}-{profile.started.removesuffix('+00:00')}Z")
    return profiles_folder(bundle) / f"{label}.json"


def _options(words: ProfileWords) -> ProfileOptions:
    for name in words:
        if name not in ProfileWords.__annotations__:
            near = get_close_matches(name, ProfileWords.__annotations__, n=1)
            hint = f"did you mean '{near[0]}'?" if near else ""
            known = ", ".join(ProfileWords.__annotations__)
            raise UsageError(f"profile has no option '{name}'", fix=f"{hint} it has: {known}".strip())
    spans: Mapping[str, object] = {name: words.get(name) for name in ("duration", "soak", "idle", "patience")}
    seconds = {name: _seconds(name, str(text)) for name, text in spans.items() if text is not None}
    default = ProfileOptions()
    return ProfileOptions(
        components=_names(words.get("components", ())),
        variants=_names(words.get("variants", ())),
        runs=_within("runs", words.get("runs", default.runs), 1, _MOST_RUNS),
        warm_up=_within("warm_up", words.get("warm_up", default.warm_up), 0, _MOST_RUNS),
        seconds=seconds.get("duration"),
        soak_s=seconds.get("soak", default.soak_s),
        threads=_within("threads", words.get("threads", default.threads), 1, 256),
        idle_s=seconds.get("idle", default.idle_s),
        patience_s=seconds.get("patience", default.patience_s),
        power_mode=words.get("power_mode"),
        power_csv=Path(words["power_csv"]) if "power_csv" in words else None,
        python=words.get("python", ""),
        tool=Path(words["tool"]) if "tool" in words else None,
        accelerator=words.get("accelerator", default.accelerator),
        keep=words.get("keep", ""),
        typed=frozenset(words),
        earlier=load_profile(Path(words["resume"])) if "resume" in words else None,
    )


def _names(given: str | Sequence[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


def _within(name: str, value: int, least: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise UsageError(f"{name} is {value!r}", fix=f"give a whole number from {least} to {most}")
    return value


def _seconds(name: str, text: str) -> float:
    match = _DURATION.fullmatch(text.strip())
    value = float(match[1]) * _UNITS_S.get(match[2], 0.0) if match else 0.0
    if not 0 < value <= _LONGEST_S:
        raise UsageError(
            f"{name} '{text}' is no duration", fix="write it as 500ms, 30s, 10m or 1h, at most 24h"
        )
    return value
