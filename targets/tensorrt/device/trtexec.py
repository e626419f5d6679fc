"""Finds trtexec, asks its version and flags, runs it, and reads the JSON it writes."""

import json
import os
import re
import shutil
import subprocess

from failure import Failure, printable

JETPACK_PLACE = "/usr/src/tensorrt/bin/trtexec"
MAX_JSON_BYTES = 512 << 20
# Only stops a hung trtexec: builds are slow on small boards.
TIME_LIMIT_S = 3 * 3600


class Trtexec:
    """One trtexec binary: `path`, `version` (major, minor, patch) and the flags its --help lists."""

    def __init__(self, path):
        self.path = path
        done = _execute([path, "--help"], limit=120)
        self.version = parse_version(done.stdout)
        self.flags = frozenset(re.findall(r"--[A-Za-z][A-Za-z0-9]*", done.stdout))
        if self.version is None:
            raise Failure("%s does not say its TensorRT version" % path, "install NVIDIA's trtexec")

    def version_text(self):
        return ".".join(str(part) for part in self.version)

    def run(self, arguments):
        """Run with `arguments`; returns stdout and stderr together. Raises Failure with its error lines."""
        done = _execute([self.path] + list(arguments), limit=TIME_LIMIT_S)
        if done.returncode != 0:
            raise _failure(done)
        return done.stdout


def find_trtexec():
    """The trtexec named by EDGEKIT_TRTEXEC, on PATH, or where JetPack keeps it."""
    named = os.environ.get("EDGEKIT_TRTEXEC")
    for path in (named, shutil.which("trtexec"), JETPACK_PLACE):
        if path and os.access(path, os.X_OK):
            return Trtexec(path)
        if named:
            raise Failure("EDGEKIT_TRTEXEC names %s, which cannot be executed" % named, "correct it or unset it")
    raise Failure(
        "trtexec is not on PATH and not at %s" % JETPACK_PLACE,
        "install it with: sudo apt install libnvinfer-bin (JetPack: sudo apt install nvidia-jetpack)",
    )


def parse_version(text):
    """(major, minor, patch) of the banner `[TensorRT v8502]` (8.5.2) or `[TensorRT v100300]` (10.3.0)."""
    found = re.search(r"\[TensorRT v(\d{4,6})\]", text)
    if found is None:
        return None
    number = int(found.group(1))
    if number >= 100000:
        return number // 10000, number // 100 % 100, number % 100
    return number // 1000, number // 100 % 10, number % 100


def read_json(path):
    """What trtexec wrote; `nan` and `inf`, which it prints bare, become NaN and Infinity."""
    try:
        if os.path.getsize(path) > MAX_JSON_BYTES:
            raise Failure("%s is larger than 512 MiB" % path, "use smaller outputs")
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise Failure("trtexec wrote no readable %s (%s)" % (os.path.basename(path), error), "see its messages")
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        return json.loads(re.sub(r"(?<=[\s\[,:-])(nan|inf)(?=[\s\],])", _json_name, text))
    except ValueError as error:
        raise Failure("trtexec wrote broken JSON (%s)" % error, "run it again")


def _json_name(found):
    return "NaN" if found.group(1) == "nan" else "Infinity"


def _execute(argv, limit):
    try:
        return subprocess.run(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            universal_newlines=True, errors="replace", timeout=limit, check=False,
        )
    except OSError as error:
        raise Failure("%s cannot be run (%s)" % (argv[0], error.strerror), "check the installation")
    except subprocess.TimeoutExpired:
        raise Failure("%s did not end within %d s" % (argv[0], limit), "close other programs and try again")


def _failure(done):
    lines = [line for line in done.stdout.splitlines() if "[E]" in line or "rror" in line]
    if "No space left on device" in done.stdout:
        return Failure("trtexec ran out of disk", "free space, or name another folder with --cache")
    last = printable(" | ".join(lines[-3:])) or "it gave no reason"
    if "out of memory" in done.stdout.lower() or done.returncode == -9:
        return Failure("trtexec ran out of memory (%s)" % last, "close other programs, or add swap for the build")
    return Failure("trtexec failed with %d: %s" % (done.returncode, last), "run it by hand to see all of it")
