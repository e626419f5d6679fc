"""The bundle around the scripts: its manifest, its job, and files whose bytes are checked before use."""

import hashlib
import json
import os

from failure import Failure

MAX_JSON_BYTES = 64 << 20
AGAIN = "copy the bundle again"


class Bundle:
    """One bundle folder: `digest` (sha256 of its manifest), `job` (mac/job.json) and checked files."""

    def __init__(self, root):
        self.root = os.path.realpath(root)
        data = _read(os.path.join(self.root, "manifest.json"))
        self.digest = hashlib.sha256(data).hexdigest()
        manifest = _parse(data, "manifest.json")
        try:
            self._sums = {name: row["sha256"] for name, row in manifest["files"].items()}
            self._golden = {row["name"]: row["golden"]["samples"] for row in manifest["components"]}
            self.device = str(manifest["device"]["title"])
            job = _parse(_read(self.file("mac/job.json")), "mac/job.json")
            self.artifacts = [Artifact(self, row) for row in job["artifacts"]]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise Failure(f"the bundle's manifest or job cannot be used ({error!r})", AGAIN)

    def file(self, name):
        """The absolute path of one file of the bundle; it must lie inside and have the manifest's bytes."""
        path = os.path.realpath(os.path.join(self.root, name))
        if os.path.commonpath([self.root, path]) != self.root:
            raise Failure(f"the bundle names a file outside its folder ({name!r})", "use a bundle that verifies")
        if name not in self._sums:
            raise Failure(f"bundle file {name!r} is not in the manifest", AGAIN)
        if _digest(path) != self._sums[name]:
            raise Failure(f"bundle file {name!r} does not have the manifest's bytes", AGAIN)
        return path

    def folder(self, name, files):
        """The absolute path of a package folder, once each of its files is checked."""
        for file in files:
            if not file.startswith(name + "/"):
                raise Failure(f"file {file!r} does not lie in {name!r}", AGAIN)
            self.file(file)
        return os.path.join(self.root, *name.split("/"))

    def golden(self, component):
        """[{"inputs": {tensor: path}, "fp32": ..., "reference": ... or absent}] of one component."""
        try:
            rows = [
                {kind: {tensor: self.file(name) for tensor, name in row[kind].items()} for kind in row if row[kind]}
                for row in self._golden[component]
            ]
        except (KeyError, TypeError, AttributeError) as error:
            raise Failure(f"the golden data of {component!r} cannot be used ({error!r})", AGAIN)
        if not rows or not all("inputs" in row and "fp32" in row for row in rows):
            raise Failure(f"component {component!r} has no golden sample", "convert again with golden data")
        return rows


class Artifact:
    """One package of the job: component, variant, path, and rows of inputs, states and outputs.

    A row: `source` (the ONNX model's name), `name` (Core ML's), `dtype` (Core ML's), `rank` (the source's),
    of a state `result` (the ONNX model's output that it takes over).
    """

    def __init__(self, bundle, row):
        self.component = str(row["component"])
        self.variant = str(row["variant"])
        self.path = bundle.folder(row["package"], row["files"])
        given = [Tensor(entry) for entry in row["inputs"]]
        self.inputs = [one for one in given if one.dtype != "state"]
        self.states = [one for one in given if one.dtype == "state"]
        self.outputs = [Tensor(entry) for entry in row["outputs"]]

    def __str__(self):
        return f"{self.component}/{self.variant}"


class Tensor:
    def __init__(self, row):
        self.source = str(row["source"])
        self.name = str(row["name"])
        self.dtype = str(row["dtype"])
        self.rank = int(row["rank"])
        self.result = str(row.get("result", ""))


def _digest(path):
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            for piece in iter(lambda: file.read(1 << 20), b""):
                digest.update(piece)
    except OSError as error:
        raise Failure(f"{path} cannot be read ({error.strerror})", AGAIN)
    return digest.hexdigest()


def _read(path):
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_JSON_BYTES + 1)
    except OSError as error:
        raise Failure(f"{path} cannot be read ({error.strerror})", "run this inside a bundle, or give --bundle")
    if len(data) > MAX_JSON_BYTES:
        raise Failure(f"{path} is larger than 64 MiB", AGAIN)
    return data


def _parse(data, name):
    try:
        found = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise Failure(f"{name} is not JSON ({error})", AGAIN)
    if not isinstance(found, dict):
        raise Failure(f"{name} is no JSON object", AGAIN)
    return found
