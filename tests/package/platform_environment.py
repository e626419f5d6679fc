"""Environments for platforms' own libraries, which don't fit edgekit's: made on first use, then kept."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnxruntime as ort
import pytest

from benchmarks.peer_environment import cache_folder, make_environment

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parents[2]
_ORT = f"onnxruntime=={ort.__version__}"
# Byte code of what a test imports is made when it is imported: most of it never is.
_NO_CODE = "--no-compile"
ENVIRONMENTS = {
    # What `edgekit push` needs beside mlflow, for edgekit itself is taken from this checkout.
    "mlflow": (_NO_CODE, "mlflow==3.17.2", "onnx", _ORT, "onnx-ir", "onnxscript", "click", "rich", "pillow"),
    "evidently": (_NO_CODE, "evidently==0.7.23", "pandas<3"),
    "azureml": (_NO_CODE, "azure-ai-ml==1.35.2"),
    # moto[server] brings parsers of other services that take longer to install than all of this.
    "sagemaker": (_NO_CODE, "moto==5.2.5", "boto3", "flask", "flask-cors", "sagemaker-inference", _ORT),
}


def find_python(name: str) -> Path:
    """The Python of one environment; a skip with pip's reason where it can't be made.

    A lock lets one worker make it while the others wait.
    """
    packages = ENVIRONMENTS[name]
    key = hashlib.sha256(f"{sys.version} {packages}".encode()).hexdigest()[:10]
    folder = cache_folder() / f"platform-{name}-{key}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            try:
                make_environment(folder, (packages,))
            except SystemExit as error:
                pytest.skip(f"{name} can't be installed: {error}")
            (folder / "complete").touch()
    return folder / "bin" / "python"


def run_there(name: str, script: str, *words: str | Path, variables: Mapping[str, str] | None = None) -> Any:
    """What a script of this folder prints as JSON on its last line, run in an environment of its own.

    edgekit itself is there too, from this checkout.
    """
    command = [find_python(name), Path(__file__).parent / script, *words]
    done = subprocess.run(
        list(map(str, command)),
        env={**os.environ, "PYTHONPATH": str(ROOT), **(variables or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])
