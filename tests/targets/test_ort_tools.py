"""onnxruntime's mobile tools come without torch, which stays to be imported by whoever needs it."""

from __future__ import annotations

import json
import subprocess
import sys

LOOK = """
import json, sys
from edgekit.targets.ort_mobile.ort_tools import import_tools
tools = import_tools("ort_format_model")
before = "torch" in sys.modules
import torch
print(json.dumps([callable(tools.create_config_from_models), before, torch.ones(2).sum().item()]))
"""


def test_the_tools_load_no_torch_and_leave_it_to_be_loaded() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOOK], capture_output=True, text=True, check=True, timeout=120
    )
    assert json.loads(done.stdout) == [True, False, 2.0]
