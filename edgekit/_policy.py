"""A gate's policy: what a TOML file demands of a bundle before it may go on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit._budget import parse_budget
from edgekit._recipe_file import read_table
from edgekit._recipe_values import refuse_unknown
from edgekit._signers import read_trusted
from edgekit._strict_json import is_number
from edgekit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from edgekit._budget import Limit
    from edgekit._signers import Trusted

_TABLES = {
    "limits": None,  # the metrics of a budget
    "figures": ("count",),
    "parity": ("unproven", "min_sqnr_db", "min_cosine", "min_top1", "min_int8_share"),
    "samples": ("allow",),
    "licences": ("allow",),
    "signature": ("key", "certificate", "identity", "issuer", "trust_config"),
}
_KINDS = ("measured", "predicted")
_SAMPLES = ("samples", "random", "none")
_UNPROVEN = ("refuse", "allow")
# The key's largest value; SQNR has none.
_FLOORS = {"min_sqnr_db": math.inf, "min_cosine": 1.0, "min_top1": 1.0, "min_int8_share": 1.0}


@dataclass(frozen=True)
class Policy:
    """What is demanded. limits: by metric. kinds: which figures may keep a limit.

    unproven: whether an artifact may pass that could not run on the host. floors: the least SQNR (dB),
    cosine and top-1 agreement (0..1) of every output against fp32, and the least share of MACs in int8 of the
    int8 artifacts. samples: what may have calibrated the scales (None: not asked). licences: SPDX names that
    a component may carry (None: not asked). signed_by: who must have signed the bundle (None: not asked).
    """

    limits: Mapping[str, Limit]
    kinds: tuple[str, ...]
    unproven: bool
    floors: Mapping[str, float]
    samples: tuple[str, ...] | None
    licences: tuple[str, ...] | None
    signed_by: Trusted | None = None


def load_policy(path: Path) -> Policy:
    """The policy in a TOML file; UsageError for a key, word or number it cannot hold, or an empty one."""
    table = read_table(path, "policy")
    refuse_unknown(table, tuple(_TABLES), f"table in '{path.name}':")
    for name, known in _TABLES.items():
        part = table.get(name, {})
        if not isinstance(part, dict):
            raise UsageError(
                f"policy '{path}': {name} is no table", fix=f"write [{name}] and its keys below it"
            )
        if known is not None:
            refuse_unknown(part, known, f"key in [{name}] of '{path.name}':")
    if not any(table.values()):
        raise UsageError(
            f"policy '{path}' demands nothing",
            fix='write [limits] and size = "20MB", or [parity] and unproven = "refuse"',
        )
    parity = table.get("parity", {})
    return Policy(
        limits=parse_budget(table.get("limits", {})),
        kinds=_words(table, "figures", "count", _KINDS) or ("measured",),
        unproven=_word(parity.get("unproven", "refuse"), "parity.unproven", _UNPROVEN) == "allow",
        floors={name: _floor(name, parity[name]) for name in _FLOORS if name in parity},
        samples=_words(table, "samples", "allow", _SAMPLES),
        licences=_words(table, "licences", "allow"),
        signed_by=_signer(path, table),
    )


def _signer(path: Path, table: Mapping[str, Any]) -> Trusted | None:
    """The signer that [signature] trusts; its files lie relative to the policy's."""
    if "signature" not in table:
        return None
    given = {key: _word(value, f"signature.{key}", ()) for key, value in table["signature"].items()}
    signers = [key for key in ("key", "certificate", "identity") if key in given]
    if len(signers) != 1:
        raise UsageError(
            f"policy '{path}': [signature] names {len(signers)} signers", fix='write key = "FILE.pub"'
        )
    if ("issuer" in given) != ("identity" in given) or ("trust_config" in given and "identity" not in given):
        raise UsageError(
            f"policy '{path}': [signature] has {' and '.join(given)}",
            fix="write identity and issuer together, trust_config beside them where it is needed",
        )
    files = [key for key in given if key not in ("identity", "issuer")]
    return read_trusted(given | {key: str(path.parent / given[key]) for key in files})


def _words(
    table: Mapping[str, Any], part: str, key: str, known: Sequence[str] = ()
) -> tuple[str, ...] | None:
    """The list of words at `part.key`; None where the table is absent."""
    if part not in table:
        return None
    given = table[part].get(key)
    if not isinstance(given, list) or not given:
        raise UsageError(f"policy: {part}.{key} is no list of words", fix=f'write {key} = ["...", "..."]')
    return tuple(_word(item, f"{part}.{key}", known) for item in given)


def _word(value: object, place: str, known: Sequence[str]) -> str:
    if not isinstance(value, str) or not value or (known and value not in known):
        told = f"it knows: {', '.join(known)}" if known else "write a text"
        raise UsageError(f"policy: {place} does not take {value!r}", fix=told)
    return value


def _floor(name: str, value: object) -> float:
    most = _FLOORS[name]
    if not is_number(value) or not 0 <= value <= most:
        told = "a number of dB" if math.isinf(most) else "a number from 0 to 1"
        raise UsageError(f"policy: parity.{name} = {value!r} is out of range", fix=f"write {told}")
    return float(value)
