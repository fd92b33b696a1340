"""What the README and the page for operators show is so: the estate loads, the commands exist, the files are there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import typer

import billpatch
from model.estate import load_estate

PROJECT = Path(__file__).resolve().parent.parent
README = (PROJECT / "README.md").read_text(encoding="utf-8")
PAGES = {"README.md": README, "docs/operations.md": (PROJECT / "docs/operations.md").read_text(encoding="utf-8")}


def test_the_first_estate_loads_in_ten_lines() -> None:
    """A newcomer copies it."""
    (text,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    assert load_estate(text, "README.md").name == "acme-billing"
    assert len(text.splitlines()) <= 10


@pytest.mark.parametrize("page", PAGES)
def test_commands_exist(page: str) -> None:
    """Each ``billpatch …`` and ``make …``, with its options."""
    commands = typer.main.get_group(billpatch.app).commands
    for name, rest in re.findall(r"billpatch ([a-z]+)\b([^`\n]*)", PAGES[page]):
        assert name in commands, name
        options = {option for parameter in commands[name].params for option in parameter.opts}
        assert set(re.findall(r"--[a-z-]+", rest.split("#")[0])) <= options
    targets = re.findall(r"^([a-z]+):", (PROJECT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(re.findall(r"(?:`|\n)make ([a-z]+)\b", PAGES[page])) <= set(targets)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    """Pictures and files of the project."""
    for link in re.findall(r"\]\(([^)]+)\)", PAGES[page]):
        assert link.startswith("https://") or ((PROJECT / page).parent / link).exists(), link


def test_the_command_line_only_starts_flows() -> None:
    """It never reaches for a host, a store or the lab itself."""
    tree = ast.parse((PROJECT / "billpatch.py").read_text(encoding="utf-8"))
    modules = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    modules |= {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    assert not [name for name in modules if name.split(".")[0] in {"lab", "winrm", "pyodbc", "boto3"}]
    assert {name for name in modules if name.startswith("blocks")} <= {"blocks.prefect_api"}
