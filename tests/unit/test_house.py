"""The measures of .ci/house.py, on a source small enough to count by hand."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
MODULES = {
    "models/__init__.py": '"""Models."""\n',
    "models/a.py": '"""A."""\n\nfrom puffin.models import b\n\n\n'
    'def f(x: int) -> int:\n    """Give x."""\n    # Why.\n    y = x\n    return y\n',
    "models/b.py": "import models.a\n\n\ndef g(x):\n    return x\n",
    "studies/room/c.py": '"""C."""\n\nfrom puffin.models.a import f\n',
    "tests/test_a.py": "assert True\n" * 9,
}


@pytest.fixture(scope="module")
def house() -> ModuleType:
    spec = importlib.util.spec_from_file_location("house", ROOT / ".ci/house.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name, text in MODULES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_a_row_has_the_counts_of_the_source(house: ModuleType, checkout: Path) -> None:
    cells = [cell.strip() for cell in house.row(checkout, "x").strip("|").split("|")]
    assert cells == [
        "x",
        "4 / 19",
        "4 / 10 / 10, 0 over 400",
        "2 / 4 / 4",  # with its docstring: 4 lines of f, 1 of g
        "2 / 2 / 2",
        "4 of 6",  # neither the module b nor g
        "1 of 2",
        "1 of 1",
        "5.3 %",
        "2 of 3 edges",
        "0.47",
    ]


def test_the_table_of_rooms_counts_imports_between_them(house: ModuleType, checkout: Path) -> None:
    assert house.rooms(checkout).splitlines()[2:] == [
        "| models | 3 |  |",
        "| studies/room | 1 | models 1 |",
    ]
