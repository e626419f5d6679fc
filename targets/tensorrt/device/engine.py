"""Builds an engine with trtexec, or takes it from the cache keyed by GPU, TensorRT, model and flags."""

import errno
import hashlib
import json
import os
import shutil

from bundle import file_digest
from failure import Failure

# Room for the weights in the engine, the timing cache and files on the way; a cautious choice, not a figure.
SPACE_PER_MODEL_BYTE = 4
SPACE_FLOOR = 64 << 20


def precision_flags(variant, version):
    """TensorRT up to 10 chooses layer types by flags; 11 takes them from the ONNX file alone."""
    if version[0] >= 11 or variant == "fp32":
        return []
    if variant in ("w8", "w4"):  # the file's own types: integer weights, float data
        return ["--stronglyTyped"]
    return {"fp16": ["--fp16"], "int8": ["--int8", "--fp16"]}[variant]


def shape_flags(inputs):
    """--minShapes, --optShapes and --maxShapes, only where an input is dynamic (else trtexec refuses)."""
    if not is_dynamic(inputs):
        return []
    return ["--%sShapes=%s" % (which, shapes(inputs, which)) for which in ("min", "opt", "max")]


def is_dynamic(inputs):
    """True where the model file leaves a dim of an input open."""
    return any(entry["dynamic"] for entry in inputs)


def shapes(inputs, which):
    """`x:1x3x48x320,'y:0':1x8` as trtexec reads it, of the dynamic inputs."""
    return ",".join(
        "%s:%s" % (quoted(entry["name"]), "x".join(str(dim) for dim in entry[which]))
        for entry in inputs
        if entry["dynamic"]
    )


def quoted(name):
    """A tensor name for trtexec's NAME:VALUE lists, in single quotes where it holds a colon."""
    if any(char in name for char in "',\"\\") or not name.isprintable():
        raise Failure("trtexec cannot be told the input name %r" % name, "rename the input and convert again")
    return "'%s'" % name if ":" in name else name


def build_engine(trtexec, spec, facts, cache):
    """(engine path, "built" or "cached"). `spec`: model path, variant, inputs; `cache`: a folder."""
    flags = precision_flags(spec["variant"], trtexec.version) + shape_flags(spec["inputs"])
    key = cache_key(trtexec, spec, facts, flags)
    path = os.path.join(cache, key + ".engine")
    if facts["compute_capability"] is not None and _is_whole(path):
        return path, "cached"
    try:
        os.makedirs(cache, exist_ok=True)
        _check_space(cache, spec["files"])
        partial = "%s.%d.partial" % (path, os.getpid())
        try:
            trtexec.run(_build_arguments(trtexec, spec, partial, cache) + flags)
            _keep(partial, path)
        finally:
            if os.path.exists(partial):
                os.unlink(partial)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise Failure("the disk of %s is full" % cache, "free space, or name another folder with --cache")
        raise Failure("%s cannot be written (%s)" % (cache, error.strerror), "name another folder with --cache")
    return path, "built"


def cache_key(trtexec, spec, facts, flags):
    """An engine fits one GPU, one TensorRT, one model and one set of flags."""
    digest = hashlib.sha256()
    parts = [facts["compute_capability"] or "unknown", facts["gpu"] or "unknown", trtexec.version_text()]
    parts += flags + [file_digest(path) for path in spec["files"]]
    for part in parts:
        digest.update(part.encode("utf-8") + b"\0")
    return digest.hexdigest()


def _build_arguments(trtexec, spec, target, cache):
    arguments = ["--onnx=" + spec["model"], "--saveEngine=" + target]
    # 8.5 calls it --buildOnly; later ones --skipInference.
    for flag in ("--skipInference", "--buildOnly"):
        if flag in trtexec.flags:
            arguments.append(flag)
            break
    if "--timingCacheFile" in trtexec.flags:
        name = "timing-%s.cache" % trtexec.version_text()
        arguments.append("--timingCacheFile=" + os.path.join(cache, name))
    return arguments


def _check_space(folder, files):
    needed = SPACE_FLOOR + SPACE_PER_MODEL_BYTE * sum(os.path.getsize(path) for path in files)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise Failure(
            "%s has %d MiB free, and a build may take %d MiB" % (folder, free >> 20, needed >> 20),
            "free space, or name another folder with --cache",
        )


def _keep(partial, path):
    """Put the finished engine in place in one step, then its digest beside it."""
    if not os.path.exists(partial) or os.path.getsize(partial) == 0:
        raise Failure("trtexec ended well but wrote no engine", "run it by hand to see why")
    with open(partial, "rb") as file:
        os.fsync(file.fileno())
    digest = file_digest(partial)
    os.replace(partial, path)
    note = path + ".json"
    with open(note + ".partial", "w", encoding="utf-8") as file:
        json.dump({"sha256": digest}, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(note + ".partial", note)


def _is_whole(path):
    """The engine is there and has the bytes that were written."""
    try:
        with open(path + ".json", encoding="utf-8") as file:
            return json.load(file)["sha256"] == file_digest(path)
    except (OSError, ValueError, KeyError, TypeError, Failure):
        return False
