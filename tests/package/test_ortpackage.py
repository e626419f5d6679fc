from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnxruntime as ort

import edgekit
from tests.converted import make_bundle

if TYPE_CHECKING:
    from pathlib import Path


def test_onnxruntime_opens_the_package_chooses_int8_and_computes_what_the_bundle_does(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path)
    made = edgekit.package(bundle, "ortpackage", tmp_path / "package", name="toy")
    info = ort.ModelPackage.open(str(tmp_path / "package"), strict_unknown_fields=True).get_info()
    assert (info["schema_version_major"], info["package_name"]) == (1, "toy")
    package = ort.ModelPackageContext(str(tmp_path / "package"))
    assert package.get_component_names() == ["model"]
    assert package.get_variant_names("model") == ["int8", "fp32"]
    options = ort.SessionOptions()
    options.add_provider("CPUExecutionProvider", {})
    component = package.select_component("model", ort.ModelPackageOptions(options))
    assert component.get_selected_variant_name() == "int8"
    golden = np.load(bundle / "golden" / "model" / "000" / "inputs-0.npy")
    got = component.create_session().run(None, {"x": golden})
    plain = ort.InferenceSession(str(bundle / "model.int8.ort"), providers=["CPUExecutionProvider"])
    assert np.array_equal(np.asarray(got[0]), np.asarray(plain.run(None, {"x": golden})[0]))
    assert made.bundle in info["additional_metadata_json"]


def test_a_jetson_package_names_the_provider_that_jetsons_use(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path, "jetson-orin")
    edgekit.package(bundle, "ortpackage", tmp_path / "package")
    package = ort.ModelPackageContext(str(tmp_path / "package"))
    assert package.get_variant_names("model")[0] == "int8"
    assert package.get_variant_ep_name("model", "int8") == "TensorrtExecutionProvider"
