"""Runs inside a peer's own environment: converts what a request file lists, one JSON line a request.

    PYTHON peer_worker.py ROUTE REQUESTS RESULTS SECONDS

A route is a key of ROUTES. A request: {"name", "model", "folder", "options"}; options are the route's own.
A result: {"name", "status": "started" | "done" | "failed", "reason", "user_s", "files"}. "started" is
written first, so that a crash can be laid at a request's door. Requests that RESULTS names already are
skipped. Imports nothing of edgekit.
"""

# mypy: disable-error-code="import-not-found, import-untyped"
# pyright: reportMissingImports=false
from __future__ import annotations

import json
import resource
import signal
import sys
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    Route = Callable[[Path, Path, dict[str, Any]], None]

DEPLOYMENT = "iOS18"
OLDEST_TRIED = 17  # the opset that a model is lowered to where a Core ML peer refuses it as it is


class TooSlowError(Exception):
    """A request took longer than it may."""


def convert_with_onnx2tf(model: Path, folder: Path, options: dict[str, Any]) -> None:
    """Options are keyword arguments of `onnx2tf.convert`."""
    import onnx2tf

    onnx2tf.convert(
        input_onnx_file_path=str(model), output_folder_path=str(folder), non_verbose=True, **options
    )


def as_it_is_or_lowered(convert: Callable[[Any, Path, dict[str, Any]], None]) -> Route:
    """The model as it is, and at an older opset where that is refused: the peer's better chance counts."""

    def route(model: Path, folder: Path, options: dict[str, Any]) -> None:
        import onnx
        from onnx import version_converter

        folder.mkdir(parents=True, exist_ok=True)
        proto = onnx.load(model)
        try:
            convert(proto, folder, options)
        except KeyboardInterrupt:
            raise
        except BaseException as first:  # noqa: BLE001 - the peers end by sys.exit too
            try:
                older = version_converter.convert_version(proto, OLDEST_TRIED)
            except Exception:  # noqa: BLE001 - there is no older form, so the first refusal stands
                raise first from None
            convert(older, folder, options)

    return route


def convert_with_onnx2torch(model: Any, folder: Path, options: dict[str, Any]) -> None:
    """onnx2torch, torch.jit.trace on the data of options["feeds"], coremltools; keeps torch's own result."""
    import coremltools
    import numpy as np
    import torch

    stub_torchvision()
    from onnx2torch import convert

    with np.load(options["feeds"]) as content:
        feeds = [content[item.name] for item in model.graph.input]
    module = convert(model).eval()
    tensors = tuple(torch.from_numpy(np.array(feed)) for feed in feeds)
    with torch.no_grad():
        trace: Any = torch.jit.trace  # its annotations know nothing of a module that comes back
        traced = trace(module, tensors)
        result = traced(*tensors)
    first = result[0] if isinstance(result, tuple | list) else result
    np.save(folder / "torch.npy", first.numpy())
    inputs = [coremltools.TensorType(shape=feed.shape or (1,), dtype=_held(feed.dtype)) for feed in feeds]
    program: Any = coremltools.convert(
        traced,
        inputs=inputs,
        convert_to="mlprogram",
        minimum_deployment_target=getattr(coremltools.target, DEPLOYMENT),
        compute_precision=coremltools.precision.FLOAT32,
        skip_model_load=True,
    )
    program.save(str(folder / "model.mlpackage"))


def stub_torchvision() -> None:
    """onnx2torch imports it for RoiAlign and NonMaxSuppression alone; PyPI's does not go with a CPU torch."""

    def missing(*arguments: object, **named: object) -> None:
        raise NotImplementedError("torchvision is not in this environment")

    names: dict[str, Any] = {"nms": missing, "box_convert": missing, "roi_align": missing}
    ops = types.ModuleType("torchvision.ops")
    vars(ops).update(names)
    package = types.ModuleType("torchvision")
    vars(package)["ops"] = ops
    sys.modules.setdefault("torchvision", package)
    sys.modules.setdefault("torchvision.ops", ops)


def _held(dtype: Any) -> Any:
    """Core ML's border has float32 and int32."""
    import numpy as np

    return np.float32 if dtype.kind == "f" else np.int32


def convert_with_onnx2coreml(model: Any, folder: Path, options: dict[str, Any]) -> None:
    """Its one call, in fp32."""
    import onnx2coreml

    del options
    made = onnx2coreml.convert(model, minimum_deployment_target=DEPLOYMENT, compute_precision="fp32")
    made.save(str(folder / "model.mlpackage"))


def convert_with_onnxsim(model: Any, folder: Path, options: dict[str, Any]) -> None:
    """Simplified first, as its documentation does, then its Core ML exporter in fp32."""
    import coremltools
    import onnxsim

    del options
    try:
        model = onnxsim.simplify(model)[0]
    except Exception:  # noqa: BLE001 - the exporter takes models that were not simplified too
        print("not simplified", file=sys.stderr)
    onnxsim.export_coreml(
        model,
        str(folder / "model.mlpackage"),
        minimum_deployment_target=DEPLOYMENT,
        compute_precision=coremltools.precision.FLOAT32,
    )


ROUTES: dict[str, Route] = {
    "onnx2tf": convert_with_onnx2tf,
    "onnx2torch": as_it_is_or_lowered(convert_with_onnx2torch),
    "onnx2coreml": as_it_is_or_lowered(convert_with_onnx2coreml),
    "onnxsim": as_it_is_or_lowered(convert_with_onnxsim),
}


def convert(route: str, request: dict[str, Any], seconds: int) -> dict[str, Any]:
    """One conversion in this process; whatever it raises becomes the reason."""
    folder = Path(request["folder"])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    status, reason = "done", ""
    signal.alarm(seconds)
    try:
        ROUTES[route](Path(request["model"]), folder, request.get("options", {}))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - the peers end by sys.exit too
        status, reason = "failed", describe(error)
    finally:
        signal.alarm(0)
    user = resource.getrusage(resource.RUSAGE_SELF).ru_utime - before
    told = {"name": request["name"], "status": status, "reason": reason, "user_s": user}
    return {**told, "files": list_files(folder)}


def list_files(folder: Path) -> list[str]:
    """The models that a route left in its folder."""
    found = [*folder.glob("*.tflite"), *folder.glob("*.mlpackage")] if folder.is_dir() else []
    return sorted(map(str, found))


def describe(error: BaseException) -> str:
    """The first cause in one line: the peers wrap what went wrong."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = f"{type(error).__name__}: {error}".splitlines()
    return lines[0][:300]


def stop(signum: int, frame: object) -> None:
    """The alarm's answer."""
    del signum, frame
    raise TooSlowError("the time for one conversion is over")


def main() -> None:
    """Work through the requests that have no result yet."""
    route, requests, results, seconds = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
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
            print(json.dumps(convert(route, request, seconds)), file=stream, flush=True)


if __name__ == "__main__":
    main()
