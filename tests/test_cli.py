"""The command line: what is printed where, with which exit code, and what never reaches a terminal."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from click.testing import CliRunner, Result

from edgekit import api
from edgekit._doctor import _dependency
from edgekit._recipe import Recipe
from edgekit._recipe_file import load_recipe
from edgekit._results import (
    BundleResult,
    ConvertResult,
    Measurement,
    OutputParity,
    Parity,
    Verdict,
)
from edgekit._values import Artifact, Device, Gap, MacShare
from edgekit.cli import main
from edgekit.errors import GapError, SourceError, TargetError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

EVIL = "\x1b[31m[bold]red\x1b[0m\u202e\r\nerror: fake\x9b2J"


def run(*words: str) -> Result:
    return CliRunner().invoke(main, list(words))


def bundle(folder: Path, *, name: str = "model", failures: tuple[str, ...] = ()) -> BundleResult:
    (folder / "int8").mkdir(parents=True)
    (folder / "int8" / "m.onnx").write_bytes(b"x" * 1500)
    macs = MacShare(95, 100)
    notes = ("36 of 37 nodes on the NPU", "no engine was built")
    artifact = Artifact(name, "int8", "int8/m.onnx", ("int8/m.onnx",), "TensorRT", macs, notes=notes)
    output = OutputParity("y", 23.456, 0.999, 0.1, 0.9875)
    parity = Parity(
        name,
        "int8",
        "proven",
        "by ONNX Runtime on the host; no engine was built",
        4,
        runs_equal=True,
        against_fp32=(output,),
        macs=macs,
        gate_failures=failures,
        worst_tensors=(("bad/tensor", 3.25),) if failures else (),
    )
    device = Device("dev", "A device", "tool", "soft-1", {"soft-1": {"tool": "1.0"}})
    figure = Measurement("latency", None, "ms", "unknown", "nobody has a figure for this device yet")
    verdicts = (Verdict("latency", 50.0, "ms", "unknown", figure),)
    return BundleResult("d", device, folder, "ab" * 32, (artifact,), (parity,), (), verdicts, ())


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], list[Recipe]]:
    """Replace api.convert by a fake result; the list holds the recipes it was called with."""

    def install(result: object) -> list[Recipe]:
        calls: list[Recipe] = []

        def convert(recipe: Recipe, *, progress: Callable[..., None]) -> object:
            calls.append(recipe)
            progress("build", 1, 2)
            if isinstance(result, BaseException):
                raise result
            return result

        monkeypatch.setattr(api, "convert", convert)
        return calls

    return install


def test_convert_prints_notes_figures_proof_budget_and_place(given: Any, tmp_path: Path) -> None:
    given(ConvertResult((bundle(tmp_path / "dev"),), ("jetson-orin -> dev (soft-1, tool 1.0)",)))
    result = run("convert", "m.onnx", "--target", "jetson-orin")
    assert result.exit_code == 0
    for words in (
        "jetson-orin -> dev (soft-1, tool 1.0)",
        "dev: A device (soft-1, tool 1.0)",
        "1.50 KB",
        "23.5 dB",
        "98.8 %",
        "95.0 %",
        "proven on 4 samples, run twice in one session; by ONNX Runtime on the host; no engine was built",
        "budget latency 50ms: unknown (nobody has a figure for this device yet)",
        "model int8: 36 of 37 nodes on the NPU",
        f"bundle: {tmp_path / 'dev'}",
    ):
        assert words in result.stdout
    assert result.stdout.count("no engine was built") == 1  # the proof says it
    assert result.stderr == "build ...\n"


def test_a_missed_gate_is_exit_1_with_the_worst_tensors(given: Any, tmp_path: Path) -> None:
    given(ConvertResult((bundle(tmp_path / "dev", failures=("output 'y': 3 dB is below 10 dB",)),), ()))
    result = run("convert", "m.onnx", "-t", "d")
    assert result.exit_code == 1
    assert "FAILED model int8: output 'y': 3 dB is below 10 dB" in result.stdout
    assert "'bad/tensor' (3.2 dB)" in result.stdout
    assert result.stdout.splitlines()[-1].startswith("NOT GOOD: dev")


def test_convert_as_json_holds_schema_and_version_and_nothing_else_is_printed(
    given: Any, tmp_path: Path
) -> None:
    given(ConvertResult((bundle(tmp_path / "dev"),), ("note",)))
    result = run("convert", "m.onnx", "-t", "d", "--json")
    answer = json.loads(result.stdout)
    assert (answer["schema"], answer["version"], answer["passed"]) == ("edgekit.convert", 1, True)
    assert answer["bundles"][0]["parities"][0]["against_fp32"][0]["sqnr_db"] == 23.456
    assert result.stderr == ""


def test_every_option_reaches_the_recipe(given: Any, tmp_path: Path) -> None:
    calls = given(ConvertResult((), ()))
    words = (
        "-t a --target b@s --precision int8 --samples data --limit 9 --preprocess size=keep --shape x=1..2,3"
    )
    words += " --observer mse --budget power=15W --scheme native --float n1 --float n2 --only Conv"
    words += " --metric cer --min-sqnr 0 --min-top1 90% --max-task-drop 0.01 --golden random --golden-count 2"
    words += " --rounding adaround --option rtx=on -o out --archive --overwrite --no-cache"
    assert run("convert", "m.onnx", *words.split()).exit_code == 0
    assert calls == [
        Recipe.of(
            "m.onnx",
            targets=["a", "b@s"],
            precisions=["int8"],
            samples="data",
            limit=9,
            preprocess="size=keep",
            shapes="x=1..2,3",
            observer="mse",
            budget="power=15W",
            scheme="native",
            float_nodes=["n1", "n2"],
            only_ops="Conv",
            rounding="adaround",
            metric="cer",
            gate={"min_sqnr_db": 0, "min_top1": 0.9, "max_task_drop": 0.01},
            golden="random",
            golden_count=2,
            options={"rtx": "on"},
            output="out",
            archive=True,
            overwrite=True,
            cache="off",
        )
    ]


def test_a_saved_recipe_gives_the_same_convert(given: Any, tmp_path: Path) -> None:
    calls = given(ConvertResult((), ()))
    model, file = str(tmp_path / "m.onnx"), str(tmp_path / "edgekit.toml")
    assert run("convert", model, "-t", "a", "--shape", "x=1,2", "--save-recipe", file).exit_code == 0
    assert run("convert", "--recipe", file).exit_code == 0
    assert calls[0] == calls[1] == load_recipe(file)
    again = run("convert", model, "-t", "a", "--save-recipe", file)
    assert (again.exit_code, "--overwrite" in again.stderr) == (1, True)


def test_code_in_a_recipe_file_runs_only_with_trust(given: Any, tmp_path: Path) -> None:
    calls = given(ConvertResult((), ()))
    (tmp_path / "r.toml").write_text('model = "m.onnx"\nsamples = "os:getcwd"\n')
    refused = run("convert", "--recipe", str(tmp_path / "r.toml"))
    assert (refused.exit_code, calls) == (2, [])
    assert "names code to run: samples = 'os:getcwd'" in refused.stderr
    assert "--trust" in refused.stderr
    assert run("convert", "--recipe", str(tmp_path / "r.toml"), "--trust").exit_code == 0
    assert calls[0].samples == "os:getcwd"


@pytest.mark.parametrize(
    "words",
    [
        ["convert"],
        ["convert", "m.onnx", "--nonsense"],
        ["convert", "m.onnx", "--trust"],
        ["convert", "m.onnx", "--shape", "x"],
        ["convert", "m.onnx", "--budget", "latency=50"],
        ["convert", "m.onnx", "--budget", "latency=50W"],
        ["convert", "m.onnx", "--precision", "int4"],
        ["convert", "m.onnx", "--min-top1", "200%"],
        ["convert", "m.onnx", "--option", "rtx"],
        ["convert", "m.onnx", "--limit", "0"],
        ["convert", "m.onnx", "--dry-run", "--save-recipe", "r.toml"],
        ["convert", "m.onnx", "--dry-run"],
        ["convert", "--recipe", "/none.toml"],
        ["check", "m.onnx"],
        ["calibrate", "m.onnx", "--shape", "x=0"],
        ["verify"],
        ["nonsense"],
        ["devices", "jetson-orin-nano-8gb@jetpack-1.0"],
    ],
)
def test_wrong_usage_is_exit_2_with_a_way_out_and_no_traceback(words: list[str]) -> None:
    result = run(*words)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert "\n  way out: " in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("error", "code", "kind"),
    [
        (SourceError("no model", fix="give one"), 1, "SourceError"),
        (UsageError("no model", fix="give one"), 2, "UsageError"),
        (TargetError("no model", fix="give one"), 1, "TargetError"),
    ],
)
def test_a_refusal_is_one_line_and_its_way_out_and_json_where_asked(
    given: Any, error: Exception, code: int, kind: str
) -> None:
    given(error)
    result = run("convert", "m.onnx", "--json")
    assert result.exit_code == code
    assert result.stderr == "error: no model\n  way out: give one\n"
    answer = json.loads(result.stdout)
    assert answer["schema"] == "edgekit.error"
    assert answer["error"] == {"kind": kind, "problem": "no model", "way_out": "give one", "exit_code": code}


def test_gaps_are_told_one_a_line_and_in_json(given: Any) -> None:
    gap = Gap("t", "model", "up/3", "Resize", "no such mode", "keep it out")
    given(GapError("1 gap", fix="see it", gaps=[gap]))
    result = run("convert", "m.onnx", "--json")
    assert "  error: Resize 'up/3': no such mode; keep it out" in result.stderr
    assert json.loads(result.stdout)["gaps"][0]["node"] == "up/3"


def test_an_unknown_exception_apologizes_and_shows_its_traceback_only_when_asked(given: Any) -> None:
    given(ZeroDivisionError("by zero"))
    quiet, loud = run("convert", "m.onnx"), run("convert", "m.onnx", "-v")
    assert (quiet.exit_code, loud.exit_code) == (1, 1)
    assert "this is a bug in edgekit: ZeroDivisionError: by zero" in quiet.stderr
    assert "Traceback" not in quiet.stderr
    assert "Traceback" in loud.stderr


def test_a_full_disk_is_no_bug(given: Any) -> None:
    given(OSError(errno.ENOSPC, "No space left on device"))
    result = run("convert", "m.onnx")
    assert (result.exit_code, "bug" in result.stderr) == (1, False)
    assert "No space left on device" in result.stderr


def test_an_interrupt_is_told_and_is_no_success(given: Any) -> None:
    given(KeyboardInterrupt())
    result = run("convert", "m.onnx")
    assert result.exit_code == 130
    assert "interrupted" in result.stderr


def assert_harmless(text: str) -> None:
    assert not [letter for letter in text if not letter.isprintable() and letter != "\n"]
    assert "\nerror: fake" not in text


def test_names_from_a_model_are_never_terminal_markup(given: Any, tmp_path: Path) -> None:
    given(ConvertResult((bundle(tmp_path / "dev", name=EVIL, failures=(EVIL,)),), (EVIL,)))
    result = run("convert", "m.onnx")
    assert_harmless(result.stdout)
    assert "\\x1b[31m[bold]red" in result.stdout


def test_names_in_errors_are_never_terminal_markup(given: Any) -> None:
    given(GapError(EVIL, fix=EVIL, gaps=[Gap("t", "c", EVIL, EVIL, EVIL, EVIL)]))
    result = run("convert", "m.onnx", "-v", "--json")
    assert_harmless(result.stderr)
    assert result.stdout.isascii()


def test_a_name_of_a_megabyte_is_cut(given: Any) -> None:
    given(SourceError("x" * 1_000_000, fix="y"))
    assert len(run("convert", "m.onnx").stderr) < 5000


def test_check_prints_each_gap_and_fails_for_those_that_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    gaps = [Gap("t", "model", "n", "Op", "a rule", "a way", severity="warning")]
    monkeypatch.setattr(api, "check", lambda model, **options: gaps)
    assert run("check", "m.onnx", "-t", "t").exit_code == 0
    gaps.append(Gap("t", "model", "m", "Op", "a rule", "a way"))
    result = run("check", "m.onnx", "-t", "t")
    assert result.exit_code == 1
    assert "t: 1 that stop the build, 1 warnings" in result.stdout
    assert "error: Op 'm': a rule; a way" in result.stdout


@pytest.mark.parametrize("command", ["targets", "devices", "doctor"])
def test_listings_have_a_json_form(command: str) -> None:
    result = run(command, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    answer = json.loads(result.stdout)
    assert (answer["schema"], answer["version"]) == (f"edgekit.{command}", 1)


def test_devices_names_the_alias_and_a_device_shows_its_sources() -> None:
    assert "jetson-orin" in run("devices").stdout
    shown = run("devices", "jetson-orin").stdout
    assert shown.startswith("jetson-orin-nano-8gb: ")
    assert "source" in shown


def test_an_unknown_device_is_refused_with_the_nearest() -> None:
    result = run("devices", "jetson-oring")
    assert result.exit_code == 2
    assert "did you mean jetson-orin" in result.stderr


def test_doctor_fails_where_something_needed_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:

    def requires(name: str) -> list[str]:
        return ["no-such-package>=1.5", 'no-such-extra>=2; extra == "lab"', 'no-dev; extra == "dev"']

    monkeypatch.setattr("importlib.metadata.requires", requires)
    result = run("doctor")
    assert result.exit_code == 1
    assert "pip install -U 'no-such-package>=1.5'" in result.stdout
    assert "pip install 'edgekit[lab]'" in result.stdout
    assert "no-dev" not in result.stdout


@pytest.mark.parametrize(
    ("installed", "least", "good"),
    [("1.10.0", "1.9", True), ("1.9.0rc1", "1.9", True), ("1.8.9", "1.9", False), ("2", "2.0", True)],
)
def test_versions_are_compared_as_numbers(
    monkeypatch: pytest.MonkeyPatch, installed: str, least: str, good: bool
) -> None:

    monkeypatch.setattr("importlib.metadata.version", lambda name: installed)
    assert (_dependency("p", least, None).fix == "") is good


HEAVY = {"numpy", "onnx", "onnx_ir", "onnxruntime", "onnxscript", "rich", "PIL"}


@pytest.mark.parametrize(
    "words", [["--help"], ["targets"], ["devices"], ["--version"], ["convert", "--help"]]
)
def test_short_commands_import_nothing_heavy(words: list[str]) -> None:
    code = "import sys; from edgekit.cli import main\ntry: main(sys.argv[1:])\nexcept SystemExit: pass\n"
    code += f"heavy = {HEAVY} & set(sys.modules)\n"
    code += "sys.exit(f'imported {heavy}' if heavy else 0)"
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


def test_the_installed_command_leaves_with_its_exit_code(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from edgekit.cli import main; main()"]
    missing = subprocess.run(
        [*command, "inspect", str(tmp_path / "no.onnx")], capture_output=True, check=False
    )
    wrong = subprocess.run([*command, "inspect"], capture_output=True, check=False)
    assert (missing.returncode, wrong.returncode) == (1, 2)


def test_a_reader_that_goes_away_is_no_traceback() -> None:
    command = f"{sys.executable} -c 'from edgekit.cli import main; main()' devices --json | head -c 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert done.stderr == ""


def test_a_python_warning_is_one_readable_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import warnings

    def warn(*words: object, **options: object) -> NoReturn:
        warnings.warn("samples are RANDOM", stacklevel=1)
        raise SourceError("stop", fix="here")

    monkeypatch.setattr(api, "inspect_components", warn)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # restored afterwards
    warnings.simplefilter("always")
    assert run("inspect", "m.onnx").stderr.startswith("warning: samples are RANDOM\nerror: stop\n")
