"""Packages are swapped in; nothing goes that this product did not write, and what was good stays."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lanekit.errors import InputError
from lanekit.results.packages import LISTING_NAME, check_submissions, export_packages

Maker = Callable[[str], Path]


@pytest.fixture
def make_package(tmp_path: Path) -> Maker:
    """Make an artifact of a package whose files say its name."""

    def make(name: str) -> Path:
        folder = tmp_path / "store" / name
        (folder / "package" / "inner").mkdir(parents=True, exist_ok=True)
        for file in ("package/config.json", "package/inner/weights", "submit.zip"):
            (folder / file).write_text(name, encoding="utf-8")
        return folder

    return make


def list_names(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_packages_replace_those_of_an_earlier_ranking(tmp_path: Path, make_package: Maker) -> None:
    home = tmp_path / "submissions"
    export_packages([make_package(n) for n in "abc"], home)
    export_packages([make_package("d")], home)
    assert list_names(home) == [
        LISTING_NAME, "submit_top1.zip", "top1/config.json", "top1/inner/weights",
    ]  # fmt: skip
    assert (home / "top1" / "config.json").read_text(encoding="utf-8") == "d"
    export_packages([make_package(n) for n in "ab"], home)
    assert (home / "submit_top2.zip").read_text(encoding="utf-8") == "b"


def test_what_others_wrote_beside_the_packages_is_left_alone(tmp_path: Path, make_package: Maker) -> None:
    home = tmp_path / "home"
    foreign = ["top10-papers/thesis.txt", "top2_old/model", "submit_top9.zip", "top9/a", "top/a", "notes.md"]
    for name in foreign:
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(name, encoding="utf-8")
    check_submissions(home, 3)
    for packaged in ("abc", "d", ""):
        export_packages([make_package(n) for n in packaged], home)
        for name in foreign:
            assert (home / name).read_text(encoding="utf-8") == name


@pytest.mark.parametrize("name", ["top1/thesis.txt", "top3/a/b/c", "submit_top2.zip", "top1/.hidden", "top2"])
def test_what_others_wrote_in_a_packages_place_is_refused_by_name(
    tmp_path: Path, make_package: Maker, name: str
) -> None:
    home = tmp_path / "home"
    (home / name).parent.mkdir(parents=True)
    (home / name).write_text("mine", encoding="utf-8")
    for call in (
        lambda: check_submissions(home, 3),
        lambda: export_packages([make_package(n) for n in "abc"], home),
    ):
        with pytest.raises(InputError, match=name) as caught:
            call()
        assert "--submissions" in caught.value.remedy
    assert list_names(home) == [name]


def test_what_was_added_to_or_changed_in_our_package_is_refused(tmp_path: Path, make_package: Maker) -> None:
    home = tmp_path / "home"
    export_packages([make_package(n) for n in "ab"], home)
    (home / "top2" / "notes.txt").write_text("mine", encoding="utf-8")
    (home / "top1" / "config.json").write_text("corrected by hand", encoding="utf-8")
    with pytest.raises(InputError, match=r"top1/config\.json, top2/notes\.txt"):
        check_submissions(home, 1)  # top2 would go as well
    (home / "top2" / "notes.txt").unlink()
    (home / "top1" / "config.json").write_text("a", encoding="utf-8")
    check_submissions(home, 1)


def test_a_link_in_a_packages_place_is_not_followed(tmp_path: Path, make_package: Maker) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "thesis").write_text("mine", encoding="utf-8")
    home.mkdir()
    (home / "top1").symlink_to(elsewhere)
    with pytest.raises(InputError, match="top1"):
        export_packages([make_package("a")], home)
    assert list_names(elsewhere) == ["thesis"]


@pytest.mark.parametrize("step", ["copyfile", "rename"])
def test_an_export_that_fails_leaves_the_last_packages(
    tmp_path: Path, make_package: Maker, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    home = tmp_path / "home"
    export_packages([make_package(n) for n in "ab"], home)
    before = list_names(home)
    calls: list[object] = []

    def fail_late(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            calls.append(arguments)
            if len(calls) == 2:
                raise OSError(28, "No space left on device")
            return real(*arguments, **options)

        return call

    owner: Any = shutil if step == "copyfile" else Path
    monkeypatch.setattr(owner, step, fail_late(getattr(owner, step)))
    with pytest.raises(Exception, match="No space left"):
        export_packages([make_package(n) for n in "xyz"], home)
    monkeypatch.undo()
    assert list_names(home) == before
    assert (home / "top1" / "config.json").read_text(encoding="utf-8") == "a"
    export_packages([make_package("z")], home)
    assert (home / "top1" / "config.json").read_text(encoding="utf-8") == "z"


def test_a_damaged_listing_makes_nothing_ours(tmp_path: Path, make_package: Maker) -> None:
    home = tmp_path / "home"
    export_packages([make_package("a")], home)
    (home / LISTING_NAME).write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match="top1/config"):
        export_packages([make_package("b")], home)
