"""The Mac side's files and its Swift: whole, escaped, and parsed by a grammar where no compiler is."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from edgekit._values import Artifact
from edgekit.errors import BundleError
from edgekit.target import Job
from edgekit.targets.coreml.mac_side import write_mac_side
from edgekit.targets.coreml.package_io import Port, package_of
from edgekit.targets.coreml.swift_text import class_fields, fill, swift_identifiers, swift_string
from tests.targets.coreml_mac import PHONE, ROOM, Built, build, write_built

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("coremltools")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    out = tmp_path_factory.mktemp("built")
    return out, *write_built(out)


def test_the_mac_side_is_whole_and_says_what_was_not_compiled(
    built: Built,
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
    built: Built,
) -> None:
    out, artifact, _ = built
    (row,) = json.loads((out / "mac/job.json").read_text())["artifacts"]
    assert row["package"] == "model.fp32.mlpackage"
    assert row["files"] == sorted(artifact.files)
    assert row["inputs"] == [{"dtype": "float32", "name": "x_0", "rank": 2, "source": "x:0"}]
    assert [entry["source"] for entry in row["outputs"]] == ["y"]


def test_the_mac_side_is_the_same_bytes_each_time(built: Built, tmp_path: Path) -> None:
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


def test_every_swift_file_of_the_bundle_parses(built: Built) -> None:
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


def test_the_class_has_typed_inputs_and_outputs(built: Built) -> None:
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


def test_a_class_with_states_keeps_them_and_begins_anew() -> None:
    token, past = Port("state", "state", "int32", (1,), 1), Port("past", "past", "state", (1, 2, 8, 4), 4)
    logits = Port("logits", "logits", "float32", (1, 9), 2)
    template = (ROOM / "templates" / "EdgekitModel.swift").read_text(encoding="utf-8")
    codes = []
    for inputs in ((token, past), (token,)):
        fields = class_fields(inputs, (logits,), package="m.mlpackage", name="M")
        assert fields is not None
        codes.append(fill(template, fields))
        check_balance(codes[-1])
        assert grammar_errors(codes[-1]) == []
    held, plain = codes
    assert "@available(macOS 15.0, iOS 18.0, *)\npublic final class M {" in held
    assert "prediction(from: features, using: self.state)" in held
    assert held.count("model.makeState()") == 2
    assert '"past"' not in held
    assert "MLState" not in plain
    assert class_fields((past,), (logits,), package="m.mlpackage", name="M") is None
