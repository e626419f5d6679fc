"""ONNX's node cases through edgekit and three other roads to Core ML: which packages hold the right numbers.

    python -m benchmarks.coreml_cases [--inputs frozen] [--every N] [--write]   (goes on where it stopped)

The cases are those of docs/conformance/cases.txt, frozen (every input but the first float one a constant)
and open. The peers: onnx2torch + torch.jit.trace + coremltools, onnx2coreml, and onnxsim's exporter; each
gets the model as it is, and at opset 17 where it refuses that. All make fp32 programs.

One judge for all: the saved package is run twice in edgekit's MIL interpreter and must be within rtol 1e-3,
atol 1e-4 of what ONNX expects. Beside it stands a judge that shares nothing with edgekit, where it can
speak: coremltools folds the saved program with its own op definitions. For onnx2torch, torch ran the traced
module too.
A package that the interpreter cannot run is judged by coremltools alone.

--write: into docs/benchmarks.md, and into docs/conformance/coreml-peers.txt for scripts/conformance.
Results are kept in the cache folder (--again: judge again, --forget: convert again).
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.coreml_judges import compare, judge_by_coremltools, judge_by_interpreter
from benchmarks.coreml_peers import PEERS
from benchmarks.measure import print_table
from benchmarks.node_cases import list_cases, read_expected, read_feeds, write_case
from benchmarks.peer_process import Request, cache_folder, convert_all
from benchmarks.quote import quote_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from benchmarks.peer_process import Peer
    from tests.conformance import Case, Inputs

SECONDS = 60
DOCS = Path(__file__).parents[1] / "docs"
HEADER = ("", "cases", "pass", "refused", "does not run", "silently wrong", "second judge: agrees", "differs")


@dataclass(frozen=True)
class Judged:
    """What became of one case: `status` by the interpreter, `second` by coremltools (and torch)."""

    status: str
    reason: str = ""
    second: str = "no verdict"


def key_of(case: Case) -> str:
    """Frozen and open are one model where there is one input."""
    same = case.inputs == "frozen" or len(case.feeds) == 1
    return case.name if same else f"{case.name}-open"


def run_peer(peer: Peer, cases: Sequence[Case], work: Path) -> dict[str, Judged]:
    """Key -> what became of it."""
    requests = []
    for key, case in {key_of(case): case for case in cases}.items():
        model, made = write_case(case, work / "cases" / key), work / peer.route / key
        requests.append(Request(key, model, made, {"feeds": str(model.with_name("feeds.npz"))}))
    results = convert_all(peer, requests, work / peer.route, seconds=SECONDS)
    known = read_judged(work / peer.route)
    for key, result in results.items():
        if key not in known:
            package = result.find_file(".mlpackage")
            refused = Judged("refused", result.reason)
            judged = refused if package is None else judge(package, work / "cases" / key)
            known[key] = keep(work / peer.route, key, judged)
    return known


def run_edgekit(cases: Sequence[Case], work: Path) -> dict[str, Judged]:
    """The same for edgekit, built as its conformance test builds a case."""
    from edgekit.registry import resolve_target
    from tests.conformance import CaseRefusedError, build_case

    target, folder = resolve_target("coreml"), work / "edgekit"
    known = read_judged(folder)
    for key, case in {key_of(case): case for case in cases}.items():
        if key in known:
            continue
        write_case(case, work / "cases" / key)
        shutil.rmtree(folder / key, ignore_errors=True)
        (folder / key).mkdir(parents=True)
        try:
            package = folder / key / build_case(case, target, folder / key).main
        except CaseRefusedError as refused:
            known[key] = keep(folder, key, Judged("refused", str(refused)))
        else:
            known[key] = keep(folder, key, judge(package, work / "cases" / key))
    return known


def judge(package: Path, case: Path) -> Judged:
    """Both judges; what the interpreter cannot run, coremltools decides alone."""
    feeds, expected = read_feeds(case), read_expected(case)
    first, second = (item(package, feeds, expected) for item in (judge_by_interpreter, judge_by_coremltools))
    if first[0] == "does not run" and second[0] != "no verdict":
        return Judged(*second)
    return Judged(*first, second=_with_torch(second[0], package.with_name("torch.npy"), expected))


def _with_torch(second: str, file: Path, expected: np.ndarray) -> str:
    """Torch speaks where coremltools does not: its module cannot be righter than what was traced from it."""
    if second != "no verdict" or not file.exists():
        return second
    verdict = compare(np.load(file), expected)[0]
    return verdict if verdict == "wrong" else second


def read_judged(folder: Path) -> dict[str, Judged]:
    """What an earlier run kept there."""
    kept = folder / "judged.jsonl"
    lines = kept.read_text(encoding="utf-8").splitlines() if kept.exists() else []
    rows = [json.loads(line) for line in lines]
    return {row.pop("key"): Judged(**row) for row in rows}


def keep(folder: Path, key: str, judged: Judged) -> Judged:
    """One line, on disk before the next case."""
    with (folder / "judged.jsonl").open("a", encoding="utf-8") as stream:
        print(json.dumps({"key": key, **asdict(judged)}), file=stream)
    return judged


def count(title: str, cases: Iterable[Case], verdicts: Mapping[str, Judged]) -> tuple[object, ...]:
    """One row of the table."""
    found = [verdicts[key_of(case)] for case in cases]
    status = Counter(item.status for item in found)
    spoken = [item.second == item.status for item in found if item.second != "no verdict"]
    share = f"{status['pass']} ({100 * status['pass'] / len(found):.1f} %)"
    numbers = (status["refused"], status["does not run"], status["wrong"], sum(spoken), spoken.count(False))
    return title, len(found), share, *numbers


def measure(
    modes: Sequence[Inputs], every: int, work: Path
) -> tuple[list[tuple[object, ...]], list[tuple[object, ...]]]:
    """Rows of the table, and the cases that are wrong or on which the judges differ."""
    cases = {mode: list_cases(mode, every) for mode in modes}
    both = [case for mode in modes for case in cases[mode]]
    sides = {"edgekit": run_edgekit(both, work)} | {peer.title: run_peer(peer, both, work) for peer in PEERS}
    rows = [
        count(f"{mode}, {title}", cases[mode], verdicts)
        for mode in modes
        for title, verdicts in sides.items()
    ]
    odd: list[tuple[object, ...]] = [
        (title, key, item.status, item.second, item.reason)
        for title, verdicts in sides.items()
        for key, item in sorted(verdicts.items())
        if item.status in ("wrong", "does not run") or item.second not in ("no verdict", item.status)
    ]
    return rows, odd


def main() -> None:
    """The table; then every case that is wrong, does not run, or on which the judges differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--every", type=int, default=1, help="take each Nth case only")
    parser.add_argument("--inputs", choices=("frozen", "open", "both"), default="both")
    parser.add_argument("--forget", action="store_true", help="convert everything again")
    parser.add_argument("--again", action="store_true", help="judge every package again")
    parser.add_argument("--write", action="store_true", help="write the table into docs/")
    options = parser.parse_args()
    work = cache_folder() / "coreml-cases"
    if options.forget:
        shutil.rmtree(work, ignore_errors=True)
    for side in ("edgekit", *(peer.route for peer in PEERS)) if options.again else ():
        (work / side / "judged.jsonl").unlink(missing_ok=True)
    modes: tuple[Inputs, ...] = ("frozen", "open") if options.inputs == "both" else (options.inputs,)
    rows, odd = measure(modes, options.every, work)
    print_table("ONNX's node cases in Core ML", HEADER, rows)
    print_table("Wrong, not run, or judged differently", ("", "case", "", "second judge", "why"), odd)
    if options.write:
        quote_table(DOCS / "benchmarks.md", "coreml_cases", HEADER, rows)
        quote_table(DOCS / "conformance" / "coreml-peers.txt", "coreml_cases", HEADER, rows)


if __name__ == "__main__":
    main()
