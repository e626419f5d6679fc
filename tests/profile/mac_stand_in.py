"""A stand-in for a Mac behind a real sshd: recorded lines for its commands, our interpreter for Core ML.

Everything else is real: ssh, the runner, the workers, the Core ML script that a Mac runs, the files.
"""

from __future__ import annotations

import sys
from pathlib import Path

FAKE = Path(__file__).parents[1] / "targets" / "fake_coremltools.py"
# Recorded from powermetrics' text on Apple silicon; printed again and again, as the tool does.
SAMPLE = """*** Sampled system activity (Fri Sep 11 13:41:46 2026 -0700) (100.90ms elapsed) ***

**** Processor usage ****

E-Cluster HW active frequency: 1248 MHz
CPU 0 frequency: 1359 MHz

CPU Power: 823 mW
GPU Power: 26 mW
ANE Power: 323 mW
Combined Power (CPU + GPU + ANE): 1172 mW
"""
COMMANDS = {
    "uname": 'if [ "$1" = -s ]; then echo Darwin; else exec /usr/bin/uname "$@"; fi',
    "sysctl": "case $2 in hw.model) echo Mac16,1;; machdep.cpu.brand_string) echo 'Apple M4';; "
    "hw.memsize) echo 17179869184;; kern.bootsessionuuid) echo 5A7C;; esac",
    "sw_vers": "echo 15.5",
    "pmset": "[ \"$2\" != batt ] || exec echo \"Now drawing from 'AC Power'\"; echo ' lowpowermode 0'",
    "sudo": '[ "$1" = -n ] && shift; exec "$@"',
    "powermetrics": f"while :; do cat <<'END'\n{SAMPLE}END\nsleep 0.1; done",
}
# The one call that is not here: a process of its own, with the real coremltools, evaluates the package.
_MODEL = """

import pickle
import subprocess


class MLModel:
    def __init__(self, path, compute_units):
        self.path = path
        command = [sys.executable, "-E", {server!r}, path]
        self.server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.user_defined_metadata = pickle.load(self.server.stdout)

    def get_compiled_model_path(self):
        return self.path

    def predict(self, feeds):
        pickle.dump(feeds, self.server.stdin)
        self.server.stdin.flush()
        return pickle.load(self.server.stdout)


models.MLModel = MLModel
"""
_SERVER = """
import pickle
import sys

sys.path.insert(0, {root!r})
from tests.targets.coreml_mac import Interpreted

model = Interpreted(sys.argv[1])
pickle.dump(model.user_defined_metadata, sys.stdout.buffer)
sys.stdout.buffer.flush()
while True:
    try:
        feeds = pickle.load(sys.stdin.buffer)
    except EOFError:
        break
    pickle.dump(model.predict(feeds), sys.stdout.buffer)
    sys.stdout.buffer.flush()
"""


def make_mac(folder: Path) -> tuple[str, Path]:
    """(the PATH of its sessions, its Python)."""
    for name in ("bin", "lib"):
        (folder / name).mkdir()
    scripts = COMMANDS | {"python3": f'PYTHONPATH={folder}/lib exec {sys.executable} "$@"'}
    for name, script in scripts.items():
        (folder / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / "bin" / name).chmod(0o755)
    server = folder / "core_ml_server.py"
    server.write_text(_SERVER.format(root=str(FAKE.parents[2])))
    (folder / "lib" / "coremltools.py").write_text(FAKE.read_text() + _MODEL.format(server=str(server)))
    (folder / "lib" / "sitecustomize.py").write_text("import sys; sys.platform = 'darwin'\n")
    return f"{folder}/bin:/usr/bin:/bin", folder / "bin" / "python3"
