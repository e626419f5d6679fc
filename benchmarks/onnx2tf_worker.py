"""Runs inside onnx2tf's own environment: converts what a request file lists, one JSON line a request.

    PYTHON onnx2tf_worker.py REQUESTS RESULTS SECONDS

A request: {"name", "model", "folder", "options"}; options are keyword arguments of `onnx2tf.convert`.
A result: {"name", "status": "started" | "done" | "failed", "reason", "user_s", "files"}. "started" is
written first, so that a crash can be laid at a request's door. Requests that RESULTS names already are
skipped. Imports nothing of edgekit.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
from pathlib import Path
from typing import Any


class TooSlowError(Exception):
    """A request took longer than it may."""


def convert(request: dict[str, Any], seconds: int) -> dict[str, Any]:
    """One conversion in this process; whatever it raises becomes the reason."""
    import onnx2tf  # type: ignore[import-not-found]  # pyright: ignore[reportMissingImports]  # its env only

    folder = Path(request["folder"])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    status, reason = "done", ""
    signal.alarm(seconds)
    try:
        onnx2tf.convert(
            input_onnx_file_path=request["model"],
            output_folder_path=str(folder),
            non_verbose=True,
            **request.get("options", {}),
        )
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - the peer ends by sys.exit too
        status, reason = "failed", describe(error)
    finally:
        signal.alarm(0)
    files = sorted(str(file) for file in folder.glob("*.tflite")) if folder.is_dir() else []
    user = resource.getrusage(resource.RUSAGE_SELF).ru_utime - before
    return {"name": request["name"], "status": status, "reason": reason, "user_s": user, "files": files}


def describe(error: BaseException) -> str:
    """The first cause in one line: the peer wraps what went wrong."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {error}".splitlines()[0][:300]


def stop(signum: int, frame: object) -> None:
    """The alarm's answer."""
    del signum, frame
    raise TooSlowError("the time for one conversion is over")


def main() -> None:
    """Work through the requests that have no result yet."""
    requests, results, seconds = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    signal.signal(signal.SIGALRM, stop)
    known = set()
    if results.exists():
        known = {json.loads(line)["name"] for line in results.read_text(encoding="utf-8").splitlines()}
    with results.open("a", encoding="utf-8") as stream:
        for line in requests.read_text(encoding="utf-8").splitlines():
            request = json.loads(line)
            if request["name"] in known:
                continue
            print(json.dumps({"name": request["name"], "status": "started"}), file=stream, flush=True)
            print(json.dumps(convert(request, seconds)), file=stream, flush=True)


if __name__ == "__main__":
    main()
