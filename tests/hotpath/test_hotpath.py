"""The hot path runs compiled only while the compiled form is that of the present sources."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import hotpath

ROOT = Path(hotpath.__file__).parents[1]
WHAT_RUNS = """
import hotpath, interceptor.client, storage_backends
print(hotpath.execution, interceptor.client.__file__, sep="|")
"""


def what_runs(tree: Path, **environment: str) -> tuple[str, Path]:
    command = [sys.executable, "-c", WHAT_RUNS]
    done = subprocess.run(
        command, cwd=tree, env={"PYTHONPATH": str(tree), **environment}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    execution, _, file = done.stdout.strip().partition("|")
    return execution, Path(file)


@pytest.fixture(scope="module")
def compiled_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this installation's packages, compiled."""
    if not (ROOT / "hotpath" / hotpath.MANIFEST).exists() or what_runs(ROOT)[0] != "compiled":
        pytest.skip(f"not compiled here ({what_runs(ROOT)[0]}): `pip install -e .` with a C compiler does it")
    tree = tmp_path_factory.mktemp("compiled")
    for package in ("hotpath", "interceptor", "storage_backends"):
        shutil.copytree(ROOT / package, tree / package, ignore=shutil.ignore_patterns("__pycache__"))
    return tree


def test_what_was_compiled_is_what_runs(compiled_tree: Path) -> None:
    execution, file = what_runs(compiled_tree)
    assert execution == "compiled"
    assert file.suffix == ".so"


def test_an_edited_source_is_what_runs(compiled_tree: Path) -> None:
    source = compiled_tree / "interceptor" / "lane.py"
    before = source.read_text()
    source.write_text(before + "\nEDITED = True\n")
    try:
        execution, file = what_runs(compiled_tree)
    finally:
        source.write_text(before)
    assert execution.startswith("interpreted: interceptor.lane is not what was compiled")
    assert file.suffix == ".py"


def test_the_sources_can_be_asked_for(compiled_tree: Path) -> None:
    execution, file = what_runs(compiled_tree, INTERCEPTOR_COMPILED="0")
    assert execution.startswith("interpreted")
    assert file.suffix == ".py"


@pytest.mark.parametrize("manifest", [None, "", json.dumps(dict.fromkeys(hotpath.MODULES, ""))])
def test_without_a_good_manifest_the_sources_run(compiled_tree: Path, manifest: str | None) -> None:
    path = compiled_tree / "hotpath" / hotpath.MANIFEST
    before = path.read_text()
    path.unlink()
    if manifest is not None:
        path.write_text(manifest)
    try:
        execution, file = what_runs(compiled_tree)
    finally:
        path.write_text(before)
    assert execution.startswith("interpreted")
    assert file.suffix == ".py"


def test_every_module_named_is_there() -> None:
    assert set(hotpath.source_digests(ROOT)) == {*hotpath.MODULES, hotpath.FLUSH_LOOP}


@pytest.mark.parametrize("module", hotpath.MODULES)
def test_each_name_is_for_exceptions_of_one_type(module: str) -> None:
    """mypyc gives a variable the type of its first binding; another exception under that name would be a TypeError."""
    source = ROOT.joinpath(*module.split(".")).with_suffix(".py").read_text()
    for function in ast.walk(ast.parse(source)):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            handlers = [node for node in ast.walk(function) if isinstance(node, ast.ExceptHandler) and node.name]
            names = {(node.name, ast.unparse(node.type)) for node in handlers if node.type is not None}
            assert len(names) == len({name for name, _ in names}), f"{function.name} in {module}"
