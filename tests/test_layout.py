"""Rules of the repository's layout whose violation would not cause any other error."""

from __future__ import annotations

import ast
import re
import zipfile
from functools import cache
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parents[1]
PORTIONS = ("pipeline", "store", "store_schemas", "train")
CODE = (*PORTIONS, "tests", "benchmarks")
MAX_LINES = 400
# Names that say nothing about what is inside, and so attract everything.
VAGUE = re.compile(r"(^|_)(utils?|helpers?|common|misc|managers?)($|_)")


def modules() -> list[Path]:
    return [path for name in CODE for path in sorted((ROOT / name).rglob("*.py"))]


@cache
def classes_of(top: str) -> dict[Path, list[ast.ClassDef]]:
    """Return the classes of each module below a folder."""
    return {
        path: [node for node in ast.walk(ast.parse(path.read_bytes())) if isinstance(node, ast.ClassDef)]
        for path in (ROOT / top).rglob("*.py")
    }


@pytest.mark.parametrize("portion", PORTIONS)
def test_a_root_holds_its_portion_of_the_namespace_and_nothing_else(portion: str) -> None:
    def content(folder: Path) -> set[str]:
        return {path.name for path in folder.iterdir()} - {"__pycache__"}

    assert content(ROOT / portion) == {"spikestore"}
    assert content(ROOT / portion / "spikestore") == {portion}  # an __init__.py here would hide the siblings
    assert {"__init__.py", "py.typed"} <= content(ROOT / portion / "spikestore" / portion)


def test_the_wheel_holds_exactly_the_four_packages(tmp_path: Path) -> None:
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
    assert {tuple(name.split("/")[:2]) for name in names} == {("spikestore", portion) for portion in PORTIONS}
    packed = {name for name in names if name.endswith((".py", "py.typed"))}
    present = {
        f"spikestore/{path.relative_to(ROOT / portion / 'spikestore').as_posix()}"
        for portion in PORTIONS
        for pattern in ("*.py", "py.typed")
        for path in (ROOT / portion).rglob(pattern)
    }
    assert packed == present
    assert {f"spikestore/{portion}/py.typed" for portion in PORTIONS} <= packed


def test_module_names_describe_their_content() -> None:
    assert [path for path in modules() if VAGUE.search(path.stem)] == []


def test_modules_are_short() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in modules()
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > MAX_LINES
    }
    assert long == {}


MAX_MODULES = 15


def test_folders_are_small() -> None:
    full = {
        str(folder.relative_to(ROOT)): len(names)
        for top in (*PORTIONS, "benchmarks")
        for folder in sorted({path.parent for path in (ROOT / top).rglob("*.py")})
        if len(names := [path for path in folder.glob("*.py") if path.name != "__init__.py"]) > MAX_MODULES
    }
    assert full == {}


MAX_PARAMETERS = 8
# FeatureLoader and FeatureDataset: decision 54. The others are records whose fields are their data, also listed there.
MANY_PARAMETERS = {
    *("FeatureLoader", "FeatureDataset", "PackedColumns", "SparseBatch", "SamplePointers", "Checkpoint"),
    *("EventBlock", "FusedParameters", "Dataset", "BuildOptions"),
}


def test_constructors_have_few_parameters() -> None:
    many = {
        f"{path.relative_to(ROOT)}: {node.name}": count
        for top in (*PORTIONS, "benchmarks")
        for path, classes in classes_of(top).items()
        for node in classes
        if node.name not in MANY_PARAMETERS
        if (count := _parameters(node)) > MAX_PARAMETERS
    }
    assert many == {}


def _parameters(kind: ast.ClassDef) -> int:
    """Return how many parameters a constructor has; a dataclass' or named tuple's are its fields."""
    for part in kind.body:
        if isinstance(part, ast.FunctionDef) and part.name == "__init__":
            return len(part.args.posonlyargs + part.args.args + part.args.kwonlyargs) - 1
    is_record = any("dataclass" in ast.dump(each) for each in kind.decorator_list) or any(
        "NamedTuple" in ast.dump(each) for each in kind.bases
    )
    return sum(isinstance(part, ast.AnnAssign) for part in kind.body) if is_record else 0


MAX_METHODS = 20


def test_classes_are_small() -> None:
    methods = {
        node.name: len(
            {part.name for part in node.body if isinstance(part, (ast.FunctionDef, ast.AsyncFunctionDef))}
        )
        for top in PORTIONS
        for classes in classes_of(top).values()
        for node in classes
    }
    assert {name: count for name, count in methods.items() if count > MAX_METHODS} == {}


def test_benchmarks_have_no_circle_of_imports() -> None:
    modules = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in (ROOT / "benchmarks").rglob("*.py")
    }
    statement = re.compile(r"^\s*from (benchmarks[\w.]*) import \(?([\w\s,]+)", re.MULTILINE)
    imports = {
        name: {
            found
            for base, names in statement.findall(path.read_text(encoding="utf-8"))
            for found in [base, *(f"{base}.{each.split()[0]}" for each in names.split(",") if each.split())]
            if found in modules and found != name
        }
        for name, path in modules.items()
    }
    while free := {name for name, needed in imports.items() if not needed}:
        imports = {name: needed - free for name, needed in imports.items() if name not in free}
    assert imports == {}


def test_decisions_have_one_number_each_and_are_listed() -> None:
    folder = ROOT / "docs" / "decisions"
    index = (folder / "README.md").read_text(encoding="utf-8")
    pages = sorted(folder.glob("[0-9]*.md"))
    assert len({page.name[:4] for page in pages}) == len(pages)
    for page in pages:
        number, title = int(page.name[:4]), page.read_text(encoding="utf-8").partition("\n")[0]
        assert title.startswith(f"# {number}. ")
        assert f"| [{number}]({page.name}) | {title.partition('. ')[2]} |" in index
