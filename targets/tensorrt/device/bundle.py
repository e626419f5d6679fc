"""The bundle around the scripts: its manifest, its job, and files whose bytes are checked before use."""

import hashlib
import json
import os

from failure import Failure

MAX_JSON_BYTES = 64 << 20
AGAIN = "copy the bundle again"


class Bundle:
    """One bundle folder: `digest` (sha256 of its manifest), `job` (device/job.json) and checked files."""

    def __init__(self, root):
        self.root = os.path.realpath(root)
        data = _read(os.path.join(self.root, "manifest.json"))
        self.digest = hashlib.sha256(data).hexdigest()
        manifest = _parse(data, "manifest.json")
        try:
            self._sums = {name: row["sha256"] for name, row in manifest["files"].items()}
            self._golden = {row["name"]: row["golden"]["samples"] for row in manifest["components"]}
            job = _parse(_read(self.file("device/job.json")), "device/job.json")
            version = tuple(int(part) for part in job["tensorrt"].split("."))
            self.job = {"version": version, "software": job["software"], "components": job["components"]}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise Failure("the bundle's manifest or job cannot be used (%s)" % error, AGAIN)

    def file(self, name):
        """The absolute path of one file of the bundle; it must lie inside and have the manifest's bytes."""
        path = os.path.realpath(os.path.join(self.root, name))
        if os.path.commonpath([self.root, path]) != self.root:
            raise Failure("the bundle names a file outside its folder (%r)" % name, "use a bundle that verifies")
        if name not in self._sums:
            raise Failure("bundle file %r is not in the manifest" % name, AGAIN)
        if file_digest(path) != self._sums[name]:
            raise Failure("bundle file %r does not have the manifest's bytes" % name, AGAIN)
        return path

    def golden(self, component):
        """[{"inputs": {tensor: path}, "fp32": ..., "reference": ... or absent}] of one component."""
        try:
            rows = [
                {kind: {tensor: self.file(name) for tensor, name in row[kind].items()} for kind in row if row[kind]}
                for row in self._golden[component]
            ]
        except (KeyError, TypeError, AttributeError) as error:
            raise Failure("the golden data of %r cannot be used (%s)" % (component, error), AGAIN)
        if not rows or not all("inputs" in row for row in rows):
            raise Failure("component %r has no golden sample" % component, "convert again with golden data")
        return rows


def file_digest(path):
    """sha256 of a file, read in pieces."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            for piece in iter(lambda: file.read(1 << 20), b""):
                digest.update(piece)
    except OSError as error:
        raise Failure("%s cannot be read (%s)" % (path, error.strerror), AGAIN)
    return digest.hexdigest()


def _read(path):
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_JSON_BYTES + 1)
    except OSError as error:
        raise Failure("%s cannot be read (%s)" % (path, error.strerror), "run this inside a bundle, or give --bundle")
    if len(data) > MAX_JSON_BYTES:
        raise Failure("%s is larger than 64 MiB" % path, AGAIN)
    return data


def _parse(data, name):
    try:
        found = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise Failure("%s is not JSON (%s)" % (name, error), AGAIN)
    if not isinstance(found, dict):
        raise Failure("%s is no JSON object" % name, AGAIN)
    return found
