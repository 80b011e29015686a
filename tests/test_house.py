"""The house's rules that no other tool checks: sizes, names, dangerous calls, who reads the environment, the README."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from story_model.config import PROJECT_DIR, load_config, preset_names

PACKAGES = ("flows", "tasks", "storystream_builder", "training", "evaluation", "story_model")
SOURCES = sorted(path for package in PACKAGES for path in (PROJECT_DIR / package).rglob("*.py"))
MAX_LINES = 350
NAMES_THAT_SAY_NOTHING = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "managers"}
MAY_USE_THE_ENVIRONMENT = {
    "story_model/config.py",  # Settings
    "story_model/tracking.py",  # switches telemetry off
    "training/steps.py",  # asks whether torchrun started the process
    "tasks/runners.py",  # switches telemetry off
    "tasks/process.py",  # hands the environment down to a child, unread
}
DANGEROUS = {
    "torch.load": "with weights_only=True, or read weights as safetensors",
    "pickle.load": "never from a file",
    "pickle.loads": "never from bytes",
    "yaml.load": "use yaml.safe_load",
    "os.system": "start a process with a list of arguments",
    "eval": "parse it",
    "exec": "call it",
}

each_source = pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(PROJECT_DIR).as_posix())


def dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def calls(tree: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def loads_tensors_alone(call: ast.Call) -> bool:
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    only = given.get("weights_only")
    return dotted(call.func) == "torch.load" and isinstance(only, ast.Constant) and only.value is True


@each_source
def test_a_file_is_short_enough_to_read(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MAX_LINES


@each_source
def test_a_file_s_name_says_what_it_holds(path: Path) -> None:
    assert path.stem not in NAMES_THAT_SAY_NOTHING


@each_source
def test_a_file_begins_by_saying_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))


@each_source
def test_nothing_runs_code_that_came_as_data(path: Path) -> None:
    found = [call for call in calls(ast.parse(path.read_text())) if not loads_tensors_alone(call)]
    assert not [f"line {call.lineno}: {DANGEROUS[name]}" for call in found if (name := dotted(call.func)) in DANGEROUS]
    assert not [call.lineno for call in found for given in call.keywords if given.arg == "trust_remote_code"]


@each_source
def test_only_settings_read_the_environment(path: Path) -> None:
    if path.relative_to(PROJECT_DIR).as_posix() in MAY_USE_THE_ENVIRONMENT:
        return
    nodes = ast.walk(ast.parse(path.read_text()))
    reads = [node.lineno for node in nodes if isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv"}]
    assert not reads


@pytest.mark.parametrize("preset", preset_names())
def test_every_preset_is_a_valid_configuration(preset: str) -> None:
    assert load_config(preset).preset == preset


def test_importing_the_flows_imports_no_torch() -> None:
    code = "import sys, flows.end_to_end; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=PROJECT_DIR, check=False).returncode == 0


def test_the_arrows_point_down() -> None:
    code = "from importlinter.cli import lint_imports; import sys; sys.exit(lint_imports())"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT_DIR, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_readme_s_tree_names_what_is_there() -> None:
    blocks = re.findall(r"^## The tree\n.*?^```\w*\n(.*?)^```", (PROJECT_DIR / "README.md").read_text(), re.M | re.S)
    assert blocks, "README.md has no fenced block under the heading '## The tree'"
    missing = [name for name in tree_names(blocks[0]) if not (PROJECT_DIR / name).exists()]
    assert not missing


def tree_names(block: str) -> list[str]:
    """List the paths that an indented tree names: the words at a line's start that end in "/" or hold a dot."""
    names: list[str] = []
    folder = ""
    for line in block.splitlines():
        for word in line.split():
            if not re.fullmatch(r"[\w.-]+(/|/[\w./-]+|\.\w+)", word) and word != "Makefile":
                break
            inside = folder if line.startswith(" ") else ""
            names.append(inside + word)
            if word.endswith("/") and not line.startswith(" "):
                folder = word
    return names


def test_the_tree_is_read_by_its_indentation() -> None:
    block = "README.md Makefile\nflows/   WHAT happens\n  build_dataset.py   videos\n  end_to_end.py\ntests/  mirrors\n"
    names = ["README.md", "Makefile", "flows/", "flows/build_dataset.py", "flows/end_to_end.py", "tests/"]
    assert tree_names(block) == names


def test_a_test_file_s_name_is_used_once() -> None:
    names = [path.name for path in (PROJECT_DIR / "tests").rglob("test_*.py")]
    assert not {name for name in names if names.count(name) > 1}
