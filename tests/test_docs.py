"""README and docs say what is so: their commands run on a real model, their links lead somewhere."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from examples.first_model import write_first_model

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def run_command(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    program, *arguments = shlex.split(line, comments=True)
    assert program == "edgekit"
    return subprocess.run(
        [Path(sys.executable).parent / "edgekit", *arguments],
        cwd=folder,
        env={**os.environ, "EDGEKIT_CACHE": str(folder / "cache"), "COLUMNS": "110"},
        capture_output=True,
        text=True,
        check=False,
    )


def mask_figures(text: str) -> list[str]:
    """Lines without what differs from host to host: numbers, digests, column widths."""
    lines = [re.sub(r"[0-9a-f]{12,}|[-+]?[0-9]+(\.[0-9]+)?", "#", line) for line in text.splitlines()]
    return [" ".join(re.sub(r"-{2,}", "--", line).split()) for line in lines if line.strip()]


@pytest.fixture(scope="module")
def user_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What README's `python -m examples.first_model` leaves in the folder one works in."""
    folder = tmp_path_factory.mktemp("user")
    write_first_model(folder)
    return folder


def test_readme_commands_run_and_print_what_it_shows(user_folder: Path) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = re.findall(r"```console\n\$ ([^\n]+)\n(.*?)```", readme, re.DOTALL)
    assert shown, "README shows no command with its output"
    for command, output in shown:
        done = run_command(command, user_folder)
        assert done.returncode == 0, done.stderr
        assert mask_figures(done.stdout) == mask_figures(output), f"README should show:\n{done.stdout}"
    plain = re.findall(r"^(edgekit .+)$", readme, re.MULTILINE)
    for command in (line for line in plain if not line.startswith("edgekit turns")):
        done = run_command(command, user_folder)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_a_file(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if not (page.parent / link).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_option_that_a_page_names_exists(page: Path) -> None:
    """A command in a page names a command and options that `--help` knows."""
    commands = "convert|inspect|check|calibrate|verify|debug|profile|report|estimate"
    for line in re.findall(rf"^(?:    |\$ )?(edgekit (?:{commands}) .+)$",
                           page.read_text(encoding="utf-8"), re.MULTILINE):  # fmt: skip
        words = shlex.split(line, comments=True)
        known = run_command(f"edgekit {words[1]} --help", ROOT).stdout
        for option in (word.split("=")[0] for word in words[2:] if word.startswith("--")):
            assert re.search(rf"{option}\b", known), f"{page.name}: '{option}' in: {line}"


def test_every_page_of_docs_is_in_its_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    for page in (ROOT / "docs").rglob("*.md"):
        name = page.relative_to(ROOT / "docs").as_posix()
        assert name == "index.md" or f"({name})" in index
