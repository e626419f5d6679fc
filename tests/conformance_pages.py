"""The pages of docs/conformance: one a target, an index with a column a target, and the list of cases."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, get_args

import onnx

from tests.conformance import ATOL, MODES, RTOL, Status

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.conformance import Inputs, Outcome

FOLDER = Path(__file__).parent.parent / "docs" / "conformance"
_RULES = f"""\
Eligible are the node cases of `onnx.backend.test.case.node` that are no expanded twin and have one float32
output and a float32 input. Each runs twice over: *frozen*, with every input but the first float32 one a
constant, and *open*, with no input a constant. A case passes where both of two runs of one loaded file are
within rtol {RTOL:g}, atol {ATOL:g} of what ONNX expects. Refused means: named before anything was written.
Unproven means: built, and this host cannot run it. Others are the cases on plain tensors that are not
eligible (several outputs, other dtypes); they run so that none is wrong.
"""


class Row(NamedTuple):
    """What a page says of a case that does not pass."""

    status: Status
    reason: str


def write_pages(name: str, outcomes: Sequence[Outcome], *, others: Sequence[Outcome], folder: Path) -> None:
    """`cases.txt` (name and op of each case), `<target>.md`, and `index.md` of all targets' pages there."""
    folder.mkdir(parents=True, exist_ok=True)
    ops = {item.name: item.op for item in outcomes}
    lines = "".join(f"{case} {op}\n" for case, op in ops.items())
    (folder / "cases.txt").write_text(f"# onnx {onnx.__version__}\n{lines}", encoding="utf-8")
    (folder / f"{name}.md").write_text(_page(name, outcomes, others), encoding="utf-8")
    (folder / "index.md").write_text(_index(ops, folder), encoding="utf-8")


def read_cases(folder: Path) -> tuple[str, dict[str, str]]:
    """(onnx version, case -> op) of the committed list."""
    head, *lines = (folder / "cases.txt").read_text(encoding="utf-8").splitlines()
    return head.removeprefix("# onnx "), dict(line.split(" ") for line in lines)


def read_page(name: str, folder: Path) -> dict[tuple[str, Inputs], Row]:
    """(case, inputs) -> status and reason, of all cases that the target's committed page lists."""
    found: dict[tuple[str, Inputs], Row] = {}
    for line in (folder / f"{name}.md").read_text(encoding="utf-8").splitlines():
        if not line.startswith("| `test_"):
            continue
        case, _, mode, status, reason = line.removeprefix("| ").removesuffix(" |").split(" | ")
        known: tuple[Status, ...] = get_args(Status)
        for item in MODES:
            if mode in (item, "both"):
                found[case.strip("`"), item] = Row(known[known.index(status)], reason)
    return found


def _page(name: str, outcomes: Sequence[Outcome], others: Sequence[Outcome]) -> str:
    ops = sorted({item.op for item in outcomes})
    lines = [
        f"# ONNX's node cases on target {name}",
        "",
        f"Made by `scripts/conformance {name}` with onnx {onnx.__version__}; do not edit.",
        "",
        _RULES,
        "| inputs | cases | pass | refused | unproven | wrong |",
        "|---|---|---|---|---|---|",
        *(_total(mode, [item for item in outcomes if item.inputs == mode]) for mode in MODES),
        _total("others, open", others),
        "",
        *_peers(name),
        "| op | cases | pass, frozen | pass, open |",
        "|---|---|---|---|",
        *(_op_row(op, outcomes) for op in ops),
        "",
        "| case that does not pass | op | inputs | | reason |",
        "|---|---|---|---|---|",
        *_rows(outcomes),
    ]
    return "\n".join(lines) + "\n"


def _peers(name: str) -> list[str]:
    """What a benchmark wrote of other converters on the same cases; nothing where there is none."""
    file = FOLDER / f"{name}-peers.txt"
    return [*file.read_text(encoding="utf-8").splitlines(), ""] if file.exists() else []


def _total(title: str, outcomes: Sequence[Outcome]) -> str:
    counts = Counter(item.status for item in outcomes)
    share = 100 * counts["pass"] / max(counts.total(), 1)
    return (
        f"| {title} | {counts.total()} | {counts['pass']} ({share:.1f} %) | {counts['refused']} | "
        f"{counts['unproven']} | {counts['wrong']} |"
    )


def _op_row(op: str, outcomes: Sequence[Outcome]) -> str:
    counts = Counter((item.inputs, item.status == "pass") for item in outcomes if item.op == op)
    return (
        f"| {op} | {counts['open', True] + counts['open', False]} | {counts['frozen', True]} | "
        f"{counts['open', True]} |"
    )


def _rows(outcomes: Sequence[Outcome]) -> list[str]:
    """A row a case and reason: `both` where frozen and open have the same one."""
    found: dict[tuple[str, str, str, str], list[Inputs]] = {}
    for item in sorted(outcomes, key=lambda outcome: outcome.name):
        if item.status != "pass":
            reason = " ".join(item.reason.replace("|", "/").split())
            found.setdefault((item.name, item.op, item.status, reason), []).append(item.inputs)
    return [
        f"| `{name}` | {op} | {'both' if len(modes) == len(MODES) else modes[0]} | {status} | {reason} |"
        for (name, op, status, reason), modes in found.items()
    ]


def _index(ops: Mapping[str, str], folder: Path) -> str:
    """How many cases of each op pass, frozen / open, a column a target."""
    names = sorted(path.stem for path in folder.glob("*.md") if path.stem != "index")
    pages = {name: read_page(name, folder) for name in names}
    totals = [_passed(list(ops), pages[name]) for name in names]
    lines = [
        "# ONNX's node cases, target by target",
        "",
        f"Made by `scripts/conformance TARGET` with onnx {onnx.__version__}; do not edit.",
        "",
        _RULES,
        "Each column gives the passes frozen / open.",
        "",
        f"| op | cases | {' | '.join(f'[{name}]({name}.md)' for name in names)} |",
        "|---|---|" + "---|" * len(names),
        f"| **all** | {len(ops)} | {' | '.join(totals)} |",
    ]
    for op in sorted(set(ops.values())):
        cases = [case for case, own in ops.items() if own == op]
        cells = [_passed(cases, pages[name]) for name in names]
        lines.append(f"| {op} | {len(cases)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _passed(cases: Sequence[str], page: Mapping[tuple[str, Inputs], Row]) -> str:
    return " / ".join(str(sum((case, mode) not in page for case in cases)) for mode in MODES)
