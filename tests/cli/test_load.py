"""MODULE:APP: what is found, and what is said where nothing is."""

from pathlib import Path

import pytest

from outlast import Outlast
from outlast.cli.exits import Refused
from outlast.cli.load import load

SOURCE = "from outlast import Outlast\napp = Outlast()\nshop = Outlast()\nnumber = 7\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, imports: None) -> Path:
    """The current directory, with a module and a package in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plain_module.py").write_text(SOURCE)
    (tmp_path / "shop_package").mkdir()
    (tmp_path / "shop_package" / "jobs.py").write_text(SOURCE)
    (tmp_path / "shop_package" / "json.py").write_text(SOURCE)
    return tmp_path


@pytest.mark.parametrize(
    "place", ["plain_module:app", "shop_package.jobs:app", "plain_module.py:app", "shop_package/jobs.py:app"]
)
def test_an_app_is_found_by_module_and_by_file(place: str) -> None:
    assert isinstance(load(place), Outlast)


def test_an_absolute_path_is_a_place_too(folder: Path) -> None:
    assert isinstance(load(f"{folder}/shop_package/jobs.py:shop"), Outlast)


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("plain_module", "names no app; write shop.jobs:app or path/to/jobs.py:app"),
        (":app", "names no app"),
        ("plain_module:", "names no app"),
        ("nowhere:app", "there is no module 'nowhere'"),
        ("shop_package.nowhere:app", "there is no module 'shop_package.nowhere'"),
        ("nowhere.py:app", "there is no file nowhere.py"),
        ("plain_module:shpo", "'shpo' is no app of it; there is shop and app"),
        ("plain_module:number", "'number' is no app of it; there is"),
        ("shop_package/json.py:app", "rename the file"),
    ],
)
def test_what_is_not_there_is_said_with_what_is(place: str, said: str) -> None:
    with pytest.raises(Refused) as refused:
        load(place)
    assert said in refused.value.message


def test_a_module_without_an_app_is_told_how_to_make_one(folder: Path) -> None:
    (folder / "empty_module.py").write_text("queue = []\n")
    with pytest.raises(Refused, match="make one with `app = Outlast"):
        load("empty_module:app")
    with pytest.raises(Refused, match="'queue' is a list, not an Outlast"):
        load("empty_module:queue")
