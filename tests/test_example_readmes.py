"""The commands in each example's README run as they stand there, and leave what they promise."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# Folder -> the bundles that are there in the end, and what the last command's words must hold.
EXAMPLES = {
    "causal_lm": (["generic-ort-mobile"], r"fp32 .*\n.*\nequal for 24 of 24 tokens"),
    "image_classifier": (["generic-litert", "jetson-orin-nano-8gb"], r"\nproven"),
    "speech_detector": (["generic-litert", "generic-ort-mobile"], r"agree on speech in (9\d\.\d|100)"),
    "text_detector": (["generic-openvino", "generic-ort-mobile"], r"overlap of int8 and fp32 0\.9"),
    "text_encoder": (["generic-litert", "generic-ort-mobile"], r"cosine 0\.99"),
}


def read_commands(folder: Path) -> str:
    """What stands in the ```bash blocks of the README."""
    text = (folder / "README.md").read_text(encoding="utf-8")
    return "".join(re.findall(r"```bash\n(.*?)```", text, re.DOTALL))


def test_every_example_with_commands_is_run() -> None:
    found = {file.parent.name for file in (ROOT / "examples").glob("*/README.md")}
    assert found - {"arr_coc_0_1"} == set(EXAMPLES)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_commands_run_and_leave_their_bundles(name: str, tmp_path: Path) -> None:
    bundles, words = EXAMPLES[name]
    paths = [str(Path(sys.executable).parent), os.environ["PATH"]]
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", read_commands(ROOT / "examples" / name)],
        cwd=tmp_path,
        env=os.environ
        | {"PATH": os.pathsep.join(paths), "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert sorted(path.name for path in (tmp_path / "bundles").iterdir()) == bundles
    assert re.search(words, done.stdout), done.stdout[-3000:]
