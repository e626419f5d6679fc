"""ONNX's own node cases through onnx2tf and edgekit: which files run and hold the right numbers.

    python -m benchmarks.litert_cases [--every N]     (half an hour for all; goes on where it was stopped)

The cases are those of docs/conformance/cases.txt, frozen (every input but the first float one a constant)
and open (no input a constant). One judge for both: the file is run twice in LiteRT and must be within
rtol 1e-3, atol 1e-4 of what ONNX expects. The peer may choose the order of its inputs' and outputs' axes:
any order that gives the right numbers counts. Results are kept in the cache folder, so a second run is quick
(--again: forget the judged files, --forget: forget the peer's conversions too).
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from benchmarks.measure import Jobs, print_table, serve_job
from benchmarks.node_cases import list_cases, read_expected, read_feeds, write_case
from benchmarks.onnx2tf_peer import ONNX2TF
from benchmarks.peer_process import Request, Result, cache_folder, convert_all

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.conformance import Case

NAME = "benchmarks.litert_cases"
STATUSES = ("pass", "does not run", "wrong", "refused")
RTOL, ATOL = 1e-3, 1e-4
SECONDS = 60  # for one conversion by the peer
Verdicts = dict[str, tuple[str, str]]


def run_peer(cases: Sequence[Case], work: Path) -> Verdicts:
    """What became of each case in onnx2tf."""
    requests = [
        Request(case.name, write_case(case, work / case.name), work / case.name / "peer", {})
        for case in cases
    ]
    results = convert_all(ONNX2TF, requests, work, seconds=SECONDS)
    files = {
        name: found for name, result in results.items() if (found := result.find_file("_float32.tflite"))
    }
    judged = judge_all({name: (file, work / name) for name, file in files.items()}, work / "judged.jsonl")
    return {name: judged.get(name) or refusal(result) for name, result in results.items()}


def refusal(result: Result) -> tuple[str, str]:
    """A case without a file."""
    return "refused", result.reason or "no file"


def run_edgekit(cases: Sequence[Case], work: Path) -> Verdicts:
    """The same for edgekit, as its conformance test runs a case."""
    from edgekit.registry import resolve_target
    from tests.conformance import run_case

    del work
    target, verdicts = resolve_target("litert"), Verdicts()
    for case in cases:
        outcome = run_case(case, target)
        verdicts[case.name] = ("does not run" if outcome.status == "unproven" else outcome.status, outcome.op)
    return verdicts


def judge_all(files: Mapping[str, tuple[Path, Path]], kept: Path) -> Verdicts:
    """Judge files in processes of their own: what kills one does not run; verdicts are kept in `kept`."""
    listed = kept.with_suffix(".list")
    listed.write_text(
        json.dumps({name: [str(file), str(case)] for name, (file, case) in files.items()}), encoding="utf-8"
    )
    while files.keys() - read_verdicts(kept).keys():
        before = len(read_verdicts(kept))
        subprocess.run(
            [sys.executable, "-m", NAME, "--job", "judge", str(listed), str(kept)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )
        if len(read_verdicts(kept)) == before:
            raise SystemExit(f"the judge does not start: python -m {NAME} --job judge {listed} {kept}")
    return {name: verdict for name, verdict in read_verdicts(kept).items() if name in files}


def read_verdicts(kept: Path) -> Verdicts:
    """Name -> (status, reason); the last line of a name counts."""
    lines = kept.read_text(encoding="utf-8").splitlines() if kept.exists() else []
    return {item["name"]: (item["status"], item["reason"]) for item in map(json.loads, lines)}


def judge_listed(listed: str, kept: str) -> None:
    """The job: every listed file without a verdict. The line written first is what a crash leaves."""
    known = read_verdicts(Path(kept))
    with Path(kept).open("a", encoding="utf-8") as stream:
        for name, (file, case) in json.loads(Path(listed).read_text(encoding="utf-8")).items():
            if name in known:
                continue
            write_verdict(stream, name, ("does not run", "it kills the process"))
            write_verdict(stream, name, judge(Path(file), Path(case)))


def write_verdict(stream: TextIO, name: str, verdict: tuple[str, str]) -> None:
    """One line, on disk before the next step."""
    line = {"name": name, "status": verdict[0], "reason": verdict[1]}
    print(json.dumps(line), file=stream, flush=True)


def judge(file: Path, case: Path) -> tuple[str, str]:
    """pass, does not run, or wrong, with the reason."""
    from benchmarks.tflite_files import TFLiteFile

    feeds, expected = read_feeds(case), read_expected(case)
    best = ("does not run", "")
    for moved in (False, True):
        try:
            loaded = TFLiteFile(file)
            runs = [loaded.run(feeds, moved=moved)[0] for _ in range(2)]
        except (ValueError, RuntimeError) as error:
            best = best if best[0] == "wrong" else ("does not run", " ".join(str(error).split())[:200])
            continue
        verdict = compare(runs, expected)
        if verdict[0] == "pass":
            return verdict
        best = verdict
    return best


def compare(runs: Sequence[Any], expected: Any) -> tuple[str, str]:
    """Both runs against what ONNX expects, in the best order of axes."""
    from benchmarks.tflite_files import align

    for run in runs:
        got = align(run, expected)
        if got is None:
            return "wrong", f"shape {list(run.shape)} instead of {list(expected.shape)}"
        if not np.allclose(got, expected, rtol=RTOL, atol=ATOL, equal_nan=True):
            return "wrong", "other numbers"
    return "pass", ""


JOBS: Jobs = {"judge": judge_listed}


def count(verdicts: Verdicts) -> tuple[object, ...]:
    """One row of the table."""
    found = Counter(status for status, _ in verdicts.values())
    share = f"{100 * found['pass'] / len(verdicts):.1f} %"
    return len(verdicts), *(found[status] for status in STATUSES), share


def describe_wrong(verdicts: Verdicts) -> list[tuple[object, ...]]:
    """The silently wrong cases by the first words of their names."""
    return sorted((name, reason) for name, (status, reason) in verdicts.items() if status == "wrong")


def main() -> None:
    """Both sides, frozen and open; then the silently wrong ones by name."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--every", type=int, default=1, help="take each Nth case only")
    parser.add_argument("--forget", action="store_true", help="convert everything again")
    parser.add_argument("--again", action="store_true", help="judge every file again")
    options = parser.parse_args()
    rows, wrong = [], []
    for inputs in ("frozen", "open"):
        cases, work = list_cases(inputs, options.every), cache_folder() / f"node-cases-{inputs}"
        if options.forget:
            shutil.rmtree(work, ignore_errors=True)
        if options.again:
            (work / "judged.jsonl").unlink(missing_ok=True)
        for title, side in (("onnx2tf", run_peer), ("edgekit", run_edgekit)):
            verdicts = side(cases, work)
            rows.append((inputs, title, *count(verdicts)))
            wrong += [(inputs, title, *row) for row in describe_wrong(verdicts)]
    print_table("ONNX's node cases in LiteRT", ("inputs", "", "cases", *STATUSES, "pass"), rows)
    if wrong:
        print_table("Silently wrong", ("inputs", "", "case", "how"), wrong)


if __name__ == "__main__" and not serve_job(JOBS):
    main()
