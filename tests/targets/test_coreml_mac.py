"""The Mac side of a Core ML bundle: run here as far as Linux lets it, and with stand-ins beyond."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper, shape_inference

from edgekit._bundle.draft import BundleDraft, ComponentDraft
from edgekit._bundle.write import write_bundle
from edgekit._device_output import read_measurements
from edgekit._values import Artifact, Component, Device, Measurement
from edgekit._verify import Golden, GoldenSample
from edgekit.errors import BundleError, UsageError
from edgekit.target import Job
from edgekit.targets.coreml import CoreML
from edgekit.targets.coreml.interpret import MilSession
from edgekit.targets.coreml.mac_session import (
    MAC_PROVES,
    MacProgram,
    chosen_units,
    open_program,
    runs_core_ml,
    words_of_proof,
)
from edgekit.targets.coreml.mac_side import write_mac_side
from edgekit.targets.coreml.package_io import Port, package_of, read_ports
from edgekit.targets.coreml.swift_text import class_fields, fill, swift_identifiers, swift_string

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

pytest.importorskip("coremltools")
ROOM = Path(__file__).parents[2] / "targets" / "coreml"
FAKE = Path(__file__).with_name("fake_coremltools.py")
PHONE = Device("iphone-16-pro", "Apple iPhone 16 Pro", "coreml", "ios-18", {"ios-18": {}})
SETTINGS = ("cpuOnly", "cpuAndGPU", "cpuAndNeuralEngine", "all")


def build(out: Path) -> Artifact:
    """y = 2x, x [1, 3]; input name with a colon, as some have."""
    from edgekit.targets.coreml.build_component import build_component

    graph = helper.make_graph(
        [helper.make_node("Mul", ["x:0", "two"], ["y"], "mul")],
        "double",
        [helper.make_tensor_value_info("x:0", TensorProto.FLOAT, [1, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])],
        [numpy_helper.from_array(np.array(2, np.float32), "two")],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    built = build_component(Component("model", ir.from_proto(proto), "0"), Job(PHONE, "fp32"), out)
    manifest = f"{package_of(built)}/Manifest.json"
    return Artifact("model", "fp32", manifest, built.files, built.runtime, proves=built.proves)


X = np.array([[0.5, -1.25, 3.0]], np.float32)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Artifact, list[str]]:
    out = tmp_path_factory.mktemp("built")
    artifact = build(out)
    return out, artifact, write_mac_side([artifact], Job(PHONE, "fp32"), out)


@pytest.fixture(scope="module")
def bundle(built: tuple[Path, Artifact, list[str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out, artifact, extras = built
    folder = tmp_path_factory.mktemp("bundles") / "bundle"
    samples = tuple(
        GoldenSample({"x:0": X + index}, {"y": 2 * (X + index) + np.float32(0.5)}, None) for index in range(2)
    )
    draft = BundleDraft(
        PHONE,
        "coreml",
        out,
        (artifact,),
        (ComponentDraft("model", "0" * 64, (), (), Golden("model", "samples", samples)),),
        (),
        "none",
        extras=tuple(extras),
    )
    write_bundle(draft, folder)
    return folder


@pytest.fixture(scope="module")
def mac(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PYTHONPATH in which Python believes that it runs on a Mac with coremltools."""
    folder = tmp_path_factory.mktemp("mac")
    (folder / "coremltools.py").write_bytes(FAKE.read_bytes())
    (folder / "sitecustomize.py").write_text('import sys\n\nsys.platform = "darwin"\n')
    return folder


def run(
    bundle: Path, *arguments: str, mac: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    given = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    if mac is not None:
        given["PYTHONPATH"] = str(mac)
    return subprocess.run(
        [sys.executable, "-B", str(bundle / "mac" / "measure.py"), *arguments],
        capture_output=True,
        check=False,
        text=True,
        env=given | environment,
        cwd=bundle.parent,
    )


def rows(done: subprocess.CompletedProcess[str]) -> dict[str, Measurement]:
    return {row.metric: row for row in read_measurements(done.stdout.encode(), fix="-")}


def test_on_linux_it_says_so_and_gives_json_of_what_was_not_measured(bundle: Path) -> None:
    done = run(bundle)
    assert done.returncode == 1
    assert "error: this is Linux, and Core ML runs on a Mac only; run it on a Mac" in done.stderr
    found = rows(done)
    assert {f"model/fp32/{setting}/latency/p50" for setting in SETTINGS} <= found.keys()
    assert all(row.kind == "unknown" and row.value is None for row in found.values())
    assert all(row.basis.startswith("not measured: this is Linux") for row in found.values())


def test_a_mac_without_coremltools_is_told_how_to_install_it(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text('import sys\n\nsys.platform = "darwin"\n')
    (tmp_path / "coremltools.py").write_text("raise ImportError('none')\n")
    done = run(bundle, mac=tmp_path)
    assert done.returncode == 1
    assert 'python3 -m pip install "coremltools>=9.0"' in done.stderr


def test_with_core_ml_everything_but_power_is_measured(bundle: Path, mac: Path) -> None:
    done = run(bundle, "--runs=5", "--rounds=2", "--warm-up=3", "--seconds=1", mac=mac, PATH="/nowhere")
    found = rows(done)
    assert done.returncode == 1, "power was not measured"
    assert "sudo cannot be run" in done.stderr
    for setting in SETTINGS:
        place = f"model/fp32/{setting}"
        assert found[f"{place}/power/combined"].kind == "unknown"
        assert found[f"{place}/latency/count"].value == 10
        assert found[f"{place}/latency/warm_up_count"].value == 6
        assert found[f"{place}/latency/min"].value > 0  # type: ignore[operator]
        assert found[f"{place}/plan/neural-engine/ops"].value == 1
        assert found[f"{place}/plan/gpu/cost"].value == 0.25
        assert "conv" in found[f"{place}/plan/neural-engine/ops"].basis
        # Against 2x + 0.5: every difference is 0.5, and each figure is the worse sample's.
        want = [2 * (X + index) + 0.5 for index in range(2)]
        sqnr = min(10 * np.log10(np.sum(one**2) / (3 * 0.25)) for one in want)
        assert found[f"{place}/parity/fp32/y/sqnr_db"].value == pytest.approx(sqnr)
        assert found[f"{place}/parity/fp32/y/max_abs"].value == 0.5
    assert json.loads(done.stdout)["notes"] == [
        "figures are this machine's; the bundle was made for Apple iPhone 16 Pro"
    ]


def test_one_step_and_one_setting_leave_out_the_rest(bundle: Path, mac: Path) -> None:
    done = run(bundle, "compare", "--units=cpuOnly", mac=mac)
    assert done.returncode == 0, done.stderr
    kinds = {name.split("/")[3] for name in rows(done) if name.count("/") > 3}
    assert kinds == {"parity"}
    assert not any("all" in name.split("/") for name in rows(done))


@pytest.mark.parametrize(
    ("failing", "words"),
    [
        ("compile", "does not compile"),
        ("load CPU_AND_NE", "does not load the model for cpuAndNeuralEngine"),
        ("predict", "does not run the model on cpuOnly"),
        ("plan ALL", "no compute plan for all"),
    ],
)
def test_what_core_ml_refuses_is_said_and_the_rest_goes_on(
    bundle: Path, mac: Path, failing: str, words: str
) -> None:
    done = run(bundle, "--runs=2", "--rounds=1", "--warm-up=1", mac=mac, FAKE_FAIL=failing, PATH="/nowhere")
    assert done.returncode == 1
    assert words in done.stderr
    found = rows(done)
    assert any(row.kind == "unknown" and words in row.basis for row in found.values())
    if failing.startswith("load"):
        assert found["model/fp32/all/latency/p50"].kind == "measured"
        assert found["model/fp32/cpuAndNeuralEngine/latency/p50"].kind == "unknown"


def test_an_output_that_is_missing_is_no_equal_one(bundle: Path, mac: Path) -> None:
    done = run(bundle, "compare", mac=mac, FAKE_OUTPUT="z")
    assert done.returncode == 1
    assert "the model gives no output 'y'" in done.stderr


def test_a_changed_file_is_refused_before_it_is_used(bundle: Path, mac: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "bundle"
    shutil.copytree(bundle, copy)
    weights = next((copy / "golden").rglob("*.npy"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    done = run(copy, "compare", mac=mac)
    assert done.returncode == 1
    assert "does not have the manifest's bytes" in done.stderr


def test_an_unknown_component_or_step_is_told(bundle: Path) -> None:
    assert run(bundle, "--component=other").returncode == 1
    assert run(bundle, "explode").returncode == 2


def test_the_scripts_need_no_python_above_3_9() -> None:
    vermin = Path(sys.executable).with_name("vermin")
    scripts = sorted((ROOM / "device").glob("*.py"))
    done = subprocess.run(
        [vermin, "-t=3.9-", "--no-tips", *scripts], capture_output=True, check=False, text=True
    )
    assert done.returncode == 0, done.stdout


def load_script(name: str) -> ModuleType:
    """One script, as Python on a Mac imports it: by its plain name, from its own folder."""
    spec = importlib.util.spec_from_file_location(f"mac_{name}", ROOM / "device" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(ROOM / "device"))
    yield
    for name in set(sys.modules) - before:
        if name in ("failure", "timing", "golden", "power", "plan", "bundle"):
            del sys.modules[name]


# The form that powermetrics prints on a Mac14,2 with macOS 26 (samplers cpu_power, gpu_power, ane_power).
SAMPLES = """Machine model: Mac14,2
OS version: 25C56

*** Sampled system activity (Fri Sep 11 13:41:45 2026 -0700) (1000.00ms elapsed) ***

CPU Power: 9999 mW
GPU Power: 9999 mW
ANE Power: 9999 mW
Combined Power (CPU + GPU + ANE): 29997 mW

*** Sampled system activity (Fri Sep 11 13:41:46 2026 -0700) (1002.90ms elapsed) ***

**** Processor usage ****

E-Cluster HW active frequency: 1248 MHz
CPU 0 frequency: 1359 MHz

CPU Power: 823 mW
GPU Power: 26 mW
ANE Power: 323 mW
Combined Power (CPU + GPU + ANE): 1172 mW

**** Thermal pressure ****

Current pressure level: Nominal

*** Sampled system activity (Fri Sep 11 13:41:47 2026 -0700) (1010.09ms elapsed) ***

CPU Power: 205 mW
GPU Power: 19 mW
ANE Power: 221 mW
Combined Power (CPU + GPU + ANE): 445 mW
"""


def test_power_is_the_mean_over_time_without_the_first_sample(scripts: None) -> None:
    power = load_script("power")
    found = power.mean_power(power.parse_samples(SAMPLES))
    assert found["neural-engine"] == pytest.approx((323 * 1002.90 + 221 * 1010.09) / (1002.90 + 1010.09))
    assert found["combined"] == pytest.approx((1172 * 1002.90 + 445 * 1010.09) / (1002.90 + 1010.09))
    assert set(found) == {"cpu", "gpu", "neural-engine", "combined"}
    assert power.parse_samples("CPU Power: 1 mW\n") == []
    watts = power.parse_samples(SAMPLES.replace("ANE Power: 221 mW", "ANE Power: 0.221 W"))
    assert watts[-1]["neural-engine"] == pytest.approx(221)


def test_power_is_sampled_while_the_model_runs(scripts: None, tmp_path: Path) -> None:
    power = load_script("power")
    fake = tmp_path / "powermetrics"
    fake.write_text(f"#!/bin/sh\nsleep 0.3\ncat <<'END'\n{SAMPLES}END\n")
    fake.chmod(0o755)
    runs: list[int] = []
    found, done = power.sample_while(lambda: runs.append(1), 1, command=[str(fake)])
    assert found["cpu"] == pytest.approx(513, abs=2)
    assert done == len(runs) > 0


def test_sudo_that_would_ask_for_a_password_is_an_error_with_a_way_out(scripts: None, tmp_path: Path) -> None:
    power = load_script("power")
    fake = tmp_path / "sudo"
    fake.write_text("#!/bin/sh\necho 'sudo: a password is required' >&2\nexit 1\n")
    fake.chmod(0o755)
    with pytest.raises(Exception, match=r"a password is required.*run `sudo -v`"):
        power.sample_while(None, 1, command=[str(fake)])
    assert power.COMMAND[:2] == ["sudo", "-n"], "never asks"


def test_statistics_are_numpys(scripts: None) -> None:
    timing = load_script("timing")
    times = list(np.random.default_rng(3).exponential(2, 57))
    found = timing.statistics(times)
    for rank in (50, 90, 95, 99):
        assert found[f"p{rank}"] == pytest.approx(np.percentile(times, rank))
    assert found["mean"] == pytest.approx(np.mean(times))
    assert found["std"] == pytest.approx(np.std(times))
    assert (found["min"], found["max"], found["count"]) == (min(times), max(times), 57)


def test_rounds_alternate_and_warm_up_is_apart(scripts: None) -> None:
    timing = load_script("timing")
    order: list[str] = []
    runs = {name: (lambda name=name: order.append(name)) for name in "ab"}
    found = timing.time_side_by_side(runs, rounds=2, repeats=2, warm_up=1)
    assert "".join(order) == "aaabbb" + "bbbaaa"
    assert [len(found["a"][kind]) for kind in ("warm_up", "latency")] == [2, 4]


@pytest.mark.parametrize(
    ("got", "want", "expected"),
    [
        ([1, 2], [1, 2], {"sqnr_db": None, "cosine": 1.0, "max_abs": 0.0}),
        ([0, 0], [0, 0], {"sqnr_db": None, "cosine": 1.0, "max_abs": 0.0}),
        ([3, 0], [0, 4], {"sqnr_db": 10 * np.log10(16 / 25), "cosine": 0.0, "max_abs": 4.0}),
        ([np.nan, 1], [np.nan, 1], {"sqnr_db": None, "cosine": 1.0, "max_abs": 0.0}),
        ([1, 1], [0, 0], {"sqnr_db": -300.0, "cosine": 0.0, "max_abs": 1.0}),
    ],
)
def test_comparison_is_the_formula(scripts: None, got: Any, want: Any, expected: dict[str, float]) -> None:
    found = load_script("golden").compare(np.array(got, np.float32), np.array(want, np.float32))
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("got", [[np.nan, 1], [np.inf, 1], [1, 2, 3]])
def test_no_figure_hides_a_broken_output(scripts: None, got: list[float]) -> None:
    with pytest.raises(Exception, match="expected"):
        load_script("golden").compare(np.array(got), np.array([1.0, 1.0]))


def test_golden_inputs_are_fed_as_core_ml_takes_them(scripts: None) -> None:
    golden = load_script("golden")

    class Row:
        source, dtype = "x", "int32"

    assert golden.as_fed(Row, np.array(7, np.int64)).tolist() == [7]
    assert golden.as_fed(Row, np.array([True])).dtype == np.int32
    with pytest.raises(Exception, match="32-bit"):
        golden.as_fed(Row, np.array([1 << 40]))
    Row.dtype = "image"
    with pytest.raises(Exception, match="image"):
        golden.as_fed(Row, np.zeros(3, np.float32))


def test_pickled_golden_data_are_never_loaded(scripts: None, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(Exception, match="cannot be read"):
        load_script("golden").read_array(str(tmp_path / "x.npy"))


def test_the_mac_side_is_whole_and_says_what_was_not_compiled(
    built: tuple[Path, Artifact, list[str]],
) -> None:
    out, _, written = built
    assert written == sorted(written)
    assert {"mac/measure.py", "mac/job.json", "mac/EdgekitModel.swift", "mac/swift/Package.swift"} <= set(
        written
    )
    for name in written:
        text = (out / name).read_text(encoding="utf-8")
        if name.endswith(".swift"):
            assert "NOT COMPILED" in "".join(text.splitlines(keepends=True)[:3])
        assert text.endswith("\n")
    assert "NOT RUN on a Mac" in (out / "mac/measure.py").read_text()


def test_job_json_names_the_package_and_both_names_of_each_tensor(
    built: tuple[Path, Artifact, list[str]],
) -> None:
    out, artifact, _ = built
    (row,) = json.loads((out / "mac/job.json").read_text())["artifacts"]
    assert row["package"] == "model.fp32.mlpackage"
    assert row["files"] == sorted(artifact.files)
    assert row["inputs"] == [{"dtype": "float32", "name": "x_0", "rank": 2, "source": "x:0"}]
    assert [entry["source"] for entry in row["outputs"]] == ["y"]


def test_the_mac_side_is_the_same_bytes_each_time(
    built: tuple[Path, Artifact, list[str]], tmp_path: Path
) -> None:
    out, _, written = built
    artifact = build(tmp_path)
    assert write_mac_side([artifact], Job(PHONE, "fp32"), tmp_path) == written
    assert all((tmp_path / name).read_bytes() == (out / name).read_bytes() for name in written)


def test_an_artifact_without_a_package_is_refused() -> None:
    with pytest.raises(BundleError, match=r"holds no \.mlpackage"):
        package_of(Artifact("model", "fp32", "model.onnx", ("model.onnx",), "-"))


# A Swift file is a row of these; whatever else there is may hold no quote.
TOKENS = re.compile(r'//[^\n]*|"(?:[^"\\\n]|\\.)*"|[(){}\[\]]|[^"(){}\[\]/]+|/')
PAIRS = {")": "(", "}": "{", "]": "["}


def tokens_of(text: str) -> list[str]:
    found = TOKENS.findall(text)
    assert "".join(found) == text, "an unterminated string literal"
    return found


def check_balance(text: str) -> None:
    """Brackets close in order outside literals and comments, and inside each literal's interpolations."""
    open_ones: list[str] = []
    for token in tokens_of(text):
        if token in PAIRS.values():
            open_ones.append(token)
        elif token in PAIRS:
            assert open_ones, f"a lone {token}"
            assert open_ones.pop() == PAIRS[token]
        elif token.startswith('"'):
            assert token.count("\\(") <= token.count(")"), token
    assert not open_ones


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOM / "templates").glob("*.swift")))
def test_swift_templates_have_balanced_brackets_and_closed_literals(name: str) -> None:
    check_balance((ROOM / "templates" / name).read_text(encoding="utf-8"))


def test_the_balance_check_notices() -> None:
    for broken in ('let x = "a', "f(]", "{", ")"):
        with pytest.raises(AssertionError):
            check_balance(broken)


def grammar_errors(text: str) -> list[str]:
    """What tree-sitter's grammar of Swift (not Apple's compiler) cannot parse."""
    tree_sitter = pytest.importorskip("tree_sitter")
    swift = pytest.importorskip("tree_sitter_swift")
    source = text.encode()
    parser = tree_sitter.Parser(tree_sitter.Language(swift.language()))
    waiting, found = [parser.parse(source).root_node], []
    while waiting:
        node = waiting.pop()
        if node.is_error or node.is_missing:
            found.append(f"{node.start_point}: {source[node.start_byte : node.end_byte][:60]!r}")
        waiting += node.children
    return found


def test_every_swift_file_of_the_bundle_parses(built: tuple[Path, Artifact, list[str]]) -> None:
    files = [name for name in built[2] if name.endswith(".swift")]
    assert len(files) == 7
    assert {name: grammar_errors((built[0] / name).read_text()) for name in files} == {
        name: [] for name in files
    }
    assert grammar_errors("let x = )") != []


HOSTILE = [
    'x"); exit(1); ("',
    "\\(exit(1))",
    "*/ evil /*",
    "@FILE@",
    "é\u2028\U0001f600\0",
    "class",
    "1x",
    "x\n//",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_stays_in_its_literal_and_makes_a_plain_identifier(name: str) -> None:
    def text(tensor: str) -> str:
        port = Port("source", tensor, "float32", (1, None), 2)
        fields = class_fields((port,), (port,), package="model.fp16.mlpackage", name="EdgekitModel")
        assert fields is not None
        return fill((ROOM / "templates" / "EdgekitModel.swift").read_text(encoding="utf-8"), fields)

    code, plain = text(name), text("tensor")
    check_balance(code)
    assert grammar_errors(code) == []
    assert code.isascii()
    (identifier,) = swift_identifiers([name])
    assert re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", identifier)
    bare = [token for token in tokens_of(code) if not token.startswith('"')]
    wanted = [token.replace("tensor", identifier) for token in tokens_of(plain) if not token.startswith('"')]
    assert "".join(bare) == "".join(wanted)


def test_identifiers_differ_and_are_no_reserved_words() -> None:
    found = swift_identifiers(["a.b", "a b", "aB", "in", "model", "", "☃", "9"])
    assert found == ("aB", "aB_2", "aB_3", "in_", "model_2", "tensor", "tensor_2", "_9")


def test_literals_escape_interpolation_quotes_and_everything_outside_ascii() -> None:
    assert swift_string('a"b\\(c)\n\U0001f600') == '"a\\"b\\\\(c)\\u{a}\\u{1f600}"'


def test_the_class_has_typed_inputs_and_outputs(built: tuple[Path, Artifact, list[str]]) -> None:
    code = (built[0] / "mac/EdgekitModel.swift").read_text()
    assert "x0: MLShapedArray<Float>" in code
    assert '"x_0": MLFeatureValue(shapedArray: x0)' in code
    assert "public let y: MLShapedArray<Float>" in code
    assert 'forResource: "model.fp32"' in code
    image = Port("i", "i", "image", (8, 8), 4)
    whole = Port("n", "n", "int32", (1,), 0)
    fields = class_fields((image, whole), (whole,), package="m.mlpackage", name="M")
    assert fields is not None
    assert "i: CVPixelBuffer" in fields["PARAMETERS"]
    assert "MLFeatureValue(pixelBuffer: i)" in fields["FEEDS"]
    assert class_fields((whole,), (image,), package="m.mlpackage", name="M") is None
    assert class_fields((), (whole,), package="m.mlpackage", name="M") is None


def test_ports_are_what_the_package_says(built: tuple[Path, Artifact, list[str]]) -> None:
    inputs, outputs = read_ports(built[0] / "model.fp32.mlpackage")
    assert inputs == (Port("x:0", "x_0", "float32", (1, 3), 2),)
    assert [port.source for port in outputs] == ["y"]


def test_core_ml_runs_on_a_mac_and_the_interpreter_elsewhere(
    built: tuple[Path, Artifact, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    package = built[0] / "model.fp32.mlpackage"
    assert isinstance(open_program(package, "linux"), MilSession)
    monkeypatch.setitem(sys.modules, "coremltools", fake_coremltools())
    program = open_program(package, "darwin")
    assert isinstance(program, MacProgram)
    assert program.run({"x_0": X}, ("tap",))["y"].tolist() == (2 * X).tolist()
    assert runs_core_ml("darwin")
    assert not runs_core_ml("linux")
    assert words_of_proof("interpreted", "linux") == "interpreted"
    assert words_of_proof("interpreted", "darwin") == MAC_PROVES


def fake_coremltools() -> Any:
    """The stand-in, without its submodules taking the place of the real ones."""
    kept = {name: module for name, module in sys.modules.items() if name.startswith("coremltools")}
    spec = importlib.util.spec_from_file_location("fake_coremltools", FAKE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules.update(kept)
    return module


@pytest.mark.parametrize(("failing", "words"), [("load ALL", "cannot load"), ("predict", "cannot run")])
def test_what_core_ml_refuses_is_a_failure_and_not_unproven(
    built: tuple[Path, Artifact, list[str]], monkeypatch: pytest.MonkeyPatch, failing: str, words: str
) -> None:
    monkeypatch.setitem(sys.modules, "coremltools", fake_coremltools())
    monkeypatch.setenv("FAKE_FAIL", failing)
    with pytest.raises(BundleError, match=f"Core ML {words} model.fp32.mlpackage: Error in Core ML at"):
        MacProgram(built[0] / "model.fp32.mlpackage", "all").run({"x_0": X})


def test_compute_units_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGEKIT_COREML_UNITS", raising=False)
    assert chosen_units() == "all"
    monkeypatch.setenv("EDGEKIT_COREML_UNITS", "cpuOnly")
    assert chosen_units() == "cpuOnly"
    monkeypatch.setenv("EDGEKIT_COREML_UNITS", "gpu")
    with pytest.raises(UsageError, match="use one of: all, cpuOnly"):
        chosen_units()


class Interpreted:
    """Core ML's place taken by edgekit's interpreter: the very package, fed and read by the scripts."""

    def __init__(self, path: str, compute_units: object = None) -> None:
        from edgekit.targets.coreml.interpret.package import open_package

        self.session = MilSession(Path(path))
        self.user_defined_metadata = dict(open_package(Path(path)).model.description.metadata.userDefined)

    def predict(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return self.session.run(feeds)


def with_integers(out: Path) -> Artifact:
    """y = x * k and n = -k, with a scalar int64 k: what Core ML takes as int32[1]."""
    from edgekit.targets.coreml.build_component import build_component

    k = helper.make_tensor_value_info("k", TensorProto.INT64, [])
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["k"], ["f"], "cast", to=TensorProto.FLOAT),
            helper.make_node("Mul", ["x", "f"], ["y"], "mul"),
            helper.make_node("Neg", ["k"], ["n"], "neg"),
        ],
        "integers",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3]), k],
        [
            helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3]),
            helper.make_tensor_value_info("n", TensorProto.INT64, []),
        ],
        [],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    proto = shape_inference.infer_shapes(proto)
    return build_component(Component("model", ir.from_proto(proto), "0"), Job(PHONE, "fp32"), out)


FEEDS = {"x": X, "k": np.array(3, np.int64)}
WANT = {"y": 3 * X, "n": np.array(-3, np.int64)}


def test_the_profiler_s_runner_gives_outputs_in_the_source_s_names_dtypes_and_ranks(
    scripts: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = with_integers(tmp_path)
    run_core_ml = load_script("run_core_ml")
    with pytest.raises(RuntimeError, match="on a Mac only"):
        run_core_ml.open_model("p", 1)
    fake = fake_coremltools()
    model = Interpreted(str(tmp_path / package_of(artifact)))
    monkeypatch.setitem(sys.modules, "coremltools", fake)
    fake.models.MLModel = lambda path, compute_units: model
    monkeypatch.setattr(run_core_ml.sys, "platform", "darwin")
    opened = run_core_ml.open_model(str(tmp_path / package_of(artifact)), 1)
    got = opened.run(FEEDS)
    for name, want in WANT.items():
        assert got[name].dtype == want.dtype
        assert np.array_equal(got[name], want)
    assert opened.prepare(FEEDS)().keys() == model.predict({"x": X, "k": np.array([3], np.int32)}).keys()
    assert "reason" in opened.layers(FEEDS)
    assert opened.describe().startswith("Core ML, coremltools 9.0, compute units all")
    monkeypatch.setenv("EDGEKIT_COREML_UNITS", "gpu")
    with pytest.raises(RuntimeError, match="is none of"):
        run_core_ml.open_model("p", 1)


def test_the_target_hands_the_runner_what_it_imports() -> None:
    target = CoreML()
    ran = target.device_run(Artifact("model", "fp32", "m.mlpackage", (), "-"), PHONE)
    assert ran.runtime == "run_core_ml"
    text = ran.files["run_core_ml.py"].read_text()
    own = {path.stem for path in (ROOM / "device").glob("*.py")}
    imported = set(re.findall(r"^import (\w+)$", text, re.MULTILINE)) & own
    assert {f"{name}.py" for name in imported} == set(ran.files) - {"run_core_ml.py"}


def test_golden_integers_and_scalars_compare_equal_through_the_interpreter(
    scripts: None, tmp_path: Path
) -> None:
    artifact = with_integers(tmp_path)
    golden, bundle_module = load_script("golden"), load_script("bundle")
    inputs, outputs = read_ports(tmp_path / package_of(artifact))
    paths: dict[str, dict[str, str]] = {"inputs": {}, "fp32": {}}
    for kind, arrays in (("inputs", FEEDS), ("fp32", WANT)):
        for name, array in arrays.items():
            paths[kind][name] = str(tmp_path / f"{kind}-{name}.npy")
            np.save(paths[kind][name], array)

    class Row:
        component, variant = "model", "fp32"

    Row.inputs = [bundle_module.Tensor(vars(port)) for port in inputs]  # type: ignore[attr-defined]
    Row.outputs = [bundle_module.Tensor(vars(port)) for port in outputs]  # type: ignore[attr-defined]
    session = MilSession(tmp_path / package_of(artifact))
    found = golden.compare_golden(Row, [paths], session.run)
    assert {key: figures["max_abs"] for key, figures in found.items()} == {("fp32", "y"): 0, ("fp32", "n"): 0}


def test_what_the_script_prints_is_read_by_the_target(bundle: Path) -> None:
    found = CoreML().read(run(bundle).stdout.encode())
    assert found
    assert all(row.kind == "unknown" for row in found)
