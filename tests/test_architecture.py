"""The house's rules, read from the source: import order, sizes, docstrings, what import costs."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import edgekit

ROOT = Path(__file__).parents[1]
TOPS = ("edgekit", "targets", "calibration", "profiles")
# Lowest first; a room imports only rooms of a lower or its own rank. DESIGN: "Imports go one way".
RANKS = (
    ("errors", "_late_sympy", "_schemes", "_values", "_results"),
    ("profiles", "_device_tool", "_strict_json", "_monitor"),
    ("_budget", "_cache", "_device_output", "_guard", "_sweep_values", "_scenario"),
    ("_macs", "_lowering"),
    ("_cost",),
    ("_node_work", "_work_terms", "_likeness"),
    ("_work",),
    ("_fallback",),
    ("_latency", "_decode", "_prefill"),
    ("_power",),
    ("_predict",),
    ("passes",),
    ("sources",),
    ("calibration",),
    ("_qdq",),
    ("target",),
    ("registry",),
    ("_verify",),
    ("_bundle", "_layers"),
    (
        "_signers",
        "_sigstore",
        "_signature",
        "_recipe_values",
        "_recipe",
        "_recipe_file",
        "_scope_recipe",
        "_tasks",
        "_arm64_session",
    ),
    ("_profile", "_layer_errors", "_layer_table", "_foretold", "_estimate_scenario"),
    ("_field_figures",),
    ("_describe", "_feasibility", "_policy", "_fleet_cost"),
    ("_gate",),
    ("_baseline",),
    (
        "_doctor",
        "_inspect",
        "_estimate_field",
        "_estimate",
        "_plan",
        "_calibrate",
        "_verify_on",
        "_verify_samples",
    ),
    ("_field",),
    ("reports",),
    ("_package",),
    (
        "_choose_rounding",
        "_choose_layer_rounding",
        "_inner_sketches",
        "_open_workshops",
        "_sketch_shop",
        "_weight_shop",
        "_workshop",
    ),
    ("_choose_form", "_search"),
    ("_target_work",),
    ("_convert_target", "_debug"),
    ("_convert",),
    ("_sweep",),
    ("_bundle_api", "api"),
    ("cli",),
)
RANK = {room: rank for rank, rooms in enumerate(RANKS) for room in rooms}
LIGHT = ("numpy", "onnx", "onnx_ir", "onnxruntime", "rich")
# Longer than STYLE's 60 lines or with more than its 5 parameters, each with a reason.
LONGER: dict[str, str] = {}


def list_sources() -> list[Path]:
    found = [
        path
        for top in TOPS
        for path in sorted((ROOT / top).rglob("*.py"))
        if "__pycache__" not in path.parts and not is_device_side(path)
    ]
    return [path for path in found if not any(parent.is_symlink() for parent in path.parents)]


def is_device_side(path: Path) -> bool:
    """Scripts and templates for another machine are files, not modules of edgekit."""
    return bool({"device", "templates"} & set(path.relative_to(ROOT).parts))


def name_module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts if parts[0] == "edgekit" else ("edgekit", *parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {name_module(path): path for path in list_sources()}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in SOURCES.items()}


def find_imports(node: ast.AST) -> list[tuple[str, int]]:
    """Modules that are imported anywhere inside, lazily too; types for the checker count as well."""
    found: list[tuple[str, int]] = []
    for item in ast.walk(node):
        if isinstance(item, ast.Import):
            found += [(alias.name, item.lineno) for alias in item.names]
        elif isinstance(item, ast.ImportFrom) and item.module:
            full = [f"{item.module}.{alias.name}" for alias in item.names]
            found += [(name if name in SOURCES else item.module, item.lineno) for name in full]
    return found


def find_top_imports(tree: ast.Module) -> list[tuple[str, int]]:
    """Imports that run when the module is imported: not in functions, not under TYPE_CHECKING."""
    kept = [
        node
        for node in tree.body
        if not isinstance(node, ast.FunctionDef | ast.ClassDef)
        and not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
    ]
    return [found for node in kept for found in find_imports(node)]


def name_room(module: str) -> str:
    return module.split(".")[1] if "." in module else "edgekit"


def explain_wrong_order(module: str, imported: str) -> str | None:
    """Why `module` must not import `imported`; both begin with edgekit."""
    here, there = name_room(module), name_room(imported)
    if there == "edgekit" or here == there == "cli" or here in ("edgekit",):
        return None
    if here == "targets":
        if there == "targets":
            mine, theirs = module.split(".")[2:3], imported.split(".")[2:3]
            return None if mine == theirs else "imports a sibling target"
        return None if RANK[there] <= RANK["target"] else "a target's room stops at target.py"
    if there == "targets":
        return "targets are found by the registry, never imported"
    return None if RANK[there] <= RANK[here] else f"{there} comes after {here}"


@pytest.mark.parametrize("module", SOURCES)
def test_imports_go_one_way(module: str) -> None:
    wrong = [
        f"{SOURCES[module].relative_to(ROOT)}:{line}: {imported}: {reason}"
        for imported, line in find_imports(TREES[module])
        if imported.split(".")[0] == "edgekit" and (reason := explain_wrong_order(module, imported))
    ]
    assert not wrong, "\n".join(wrong)


def test_every_room_has_a_place_in_the_import_order() -> None:
    assert {name_room(module) for module in SOURCES} - {"edgekit", "targets"} <= RANK.keys()


@pytest.mark.parametrize("module", SOURCES)
def test_no_module_imports_a_second_copy_of_a_room(module: str) -> None:
    tops = {imported.split(".")[0] for imported, _ in find_imports(TREES[module])}
    assert not tops & {"targets", "calibration", "profiles"}


@pytest.mark.parametrize("module", SOURCES)
def test_a_file_is_short_and_says_in_its_first_line_what_it_is(module: str) -> None:
    lines = SOURCES[module].read_text(encoding="utf-8").splitlines()
    assert ast.get_docstring(TREES[module]), "no docstring"
    assert lines[0].startswith('"""')
    assert len(lines) <= 500
    if len(lines) > 300:
        warnings.warn(f"{SOURCES[module].relative_to(ROOT)} has {len(lines)} lines", stacklevel=1)


@pytest.mark.parametrize("module", SOURCES)
def test_functions_have_at_most_60_lines_and_5_parameters(module: str) -> None:
    wrong = []
    for node in ast.walk(TREES[module]):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        count = sum(item.arg not in ("self", "cls") for item in arguments)
        length = (node.end_lineno or node.lineno) - node.lineno + 1
        if (length > 60 or count > 5) and f"{module}.{node.name}" not in LONGER:
            wrong.append(f"{node.name}: {length} lines, {count} parameters")
    # A command's parameters are its options, a MIL formula's are Apple's own: each is passed by name.
    assert not wrong or module.startswith(("edgekit.cli.", "edgekit.targets.coreml.interpret.ops.")), wrong


def test_each_public_name_still_works_after_every_submodule_was_imported() -> None:
    for module in SOURCES:
        importlib.import_module(module)
    for name in (name for name in edgekit.__all__ if name != "__version__"):
        for _ in range(2):
            assert callable(getattr(edgekit, name)), f"edgekit.{name} is shadowed by a submodule"
        assert f"edgekit.{name}" not in SOURCES


def find_bound_names(package: str) -> set[str]:
    """What a package binds at top level, but for `from package.b import b`: b is not imported again."""
    tree, names = TREES[package], set[str]()
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            bound = {alias.asname or alias.name for alias in node.names}
            names |= {name for name in bound if node.module not in (package, f"{package}.{name}")}
    return names | {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}


@pytest.mark.parametrize("package", [name for name, path in SOURCES.items() if path.name == "__init__.py"])
def test_no_name_of_a_package_is_shadowed_by_its_own_submodule(package: str) -> None:
    """Importing `a.b` rebinds the name `b` in `a`, at a moment nobody can foresee."""
    submodules = {
        name.removeprefix(f"{package}.").split(".")[0] for name in SOURCES if name.startswith(f"{package}.")
    }
    assert not find_bound_names(package) & submodules


def test_importing_edgekit_loads_no_heavy_library() -> None:
    script = f"import sys, edgekit; print([name for name in {LIGHT!r} if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", script], text=True).strip() == "[]"


def test_listing_targets_loads_no_toolchain() -> None:
    script = (
        "import sys, edgekit; targets = edgekit.list_targets(); assert len(targets) >= 2; "
        f"print([name for name in {LIGHT!r} if name in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", script], text=True).strip() == "[]"


@pytest.mark.parametrize(
    "module", [name for name in SOURCES if name.startswith("edgekit.targets.") and name.count(".") == 2]
)
def test_a_target_plugin_imports_no_toolchain_at_top_level(module: str) -> None:
    heavy = {*LIGHT, "tensorrt", "tensorrt_rtx", "onnxscript"}
    tops = {imported.split(".")[0] for imported, _ in find_top_imports(TREES[module])}
    assert not tops & heavy
