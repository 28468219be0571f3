"""Imports point one way: ml and data_contracts know no orchestrator; see docs/decisions/0001-one-graph.md."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ORCHESTRATORS = {"dagster", "dagster_webserver", "dvc", "dvclive", "kfp", "kubeflow", "great_expectations"}

#: What the modules of a package must not import. Great Expectations is what data_contracts is made of.
FORBIDDEN = {
    "ml": ORCHESTRATORS | {"orchestration", "data_contracts", "triton_models", "tests", "bench"},
    "data_contracts": (ORCHESTRATORS - {"great_expectations"})
    | {"orchestration", "triton_models", "tests", "bench"},
    "orchestration": {"tests", "bench", "triton_models", "torch", "transformers"},
    "triton_models": ORCHESTRATORS | {"orchestration", "data_contracts", "ml", "tests", "bench"},
}


def imports(source: str) -> Iterator[tuple[int, str]]:
    """(line, top-level package) of every import, inside functions too, and of import_module("...")."""
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or ""]
        elif (
            isinstance(node, ast.Call)
            and getattr(node.func, "attr", getattr(node.func, "id", "")) == "import_module"
        ):
            names = [
                arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)
            ]
        for name in names:
            yield node.lineno, name.partition(".")[0]


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("package", FORBIDDEN)
def test_imports_point_one_way(package):
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in modules(package)
        for line, name in imports(path.read_text(encoding="utf-8"))
        if name in FORBIDDEN[package]
    ]
    assert wrong == []


def test_orchestration_keeps_annotations_as_objects():
    """Dagster reads the annotations of contexts and configs; as strings it cannot."""
    wrong = [
        str(path.relative_to(ROOT))
        for path in modules("orchestration")
        if any(name == "__future__" for _, name in imports(path.read_text(encoding="utf-8")))
    ]
    assert wrong == []


def test_great_expectations_is_never_imported_when_a_module_is():
    """It costs seconds and 240 MB: only inside the function that needs it."""
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in modules("data_contracts")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Import | ast.ImportFrom)
        and "great_expectations" in {name for _, name in imports(ast.unparse(node))}
    ]
    assert wrong == []


@pytest.mark.parametrize(
    "source",
    [
        "import dagster as dg",
        "from dvc.repo import Repo",
        "def f():\n    import kfp",
        "import_module('dvc.api')",
    ],
)
def test_every_form_of_import_is_seen(source):
    assert {name for _, name in imports(source)} & ORCHESTRATORS


def test_relative_imports_are_of_the_package_itself():
    assert list(imports("from . import page")) == []
