"""Fonts on request: fetched once, listed by what Typst can be asked for, and drawn with."""

from __future__ import annotations

import shutil
from pathlib import Path

import font_lato
import matplotlib
import pytest

from ml.cli import main
from ml.config import SynthConfig
from ml.errors import InputError
from ml.pages.synthesis import font_install
from ml.pages.synthesis.fonts import BUILT_IN, families
from ml.pages.synthesis.typesetting import set_page

FACES = Path(matplotlib.__file__).parent / "mpl-data/fonts/ttf"


@pytest.fixture
def shop(monkeypatch):
    """A package source without a network: `good` holds three faces, `bad` is not to be had."""
    asked: list[str] = []

    def fetch(name: str, folder: Path) -> list[Path]:
        asked.append(name)
        if name == "bad":
            raise InputError("`npm pack` failed: 404")
        shutil.copy(FACES / "cmr10.ttf", folder / "x-cmr10.ttf")
        shutil.copy(FACES / "DejaVuSerif.ttf", folder / "x-serif.ttf")
        shutil.copy(Path(font_lato.__file__).parent / "files/Lato-Regular.ttf", folder / "y-lato.ttf")
        return sorted(folder.glob("*.ttf"))

    monkeypatch.setattr(font_install, "_fetch_npm", fetch)
    return asked


def test_packages_are_fetched_once_and_what_fails_is_told_and_tried_again(shop, tmp_path):
    packages = [("npm", "good", "sans"), ("npm", "bad", "hand")]
    assert font_install.install(tmp_path, packages) == [("bad", "`npm pack` failed: 404")]
    assert font_install.install(tmp_path, packages) == [("bad", "`npm pack` failed: 404")]
    assert shop == ["good", "bad", "bad"]
    found = {family.name: family.kind for family in families(str(tmp_path))[len(BUILT_IN) :]}
    assert found["Lato"] == "sans"
    assert found["DejaVu Serif"] == "serif", "its name says what its package does not"
    assert {path.name for path in tmp_path.glob("*.[ot]tf")} == {"x-cmr10.ttf", "x-serif.ttf", "y-lato.ttf"}


def test_pages_are_set_with_installed_fonts(shop, tmp_path):
    font_install.install(tmp_path, [("npm", "good", "serif")])
    config = SynthConfig(long_edge=600, fonts=str(tmp_path))
    assert set_page(1, 0, config, "letter").pixels.shape[0] == 600


def test_a_folder_without_a_catalogue_names_the_command_that_fills_it(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["synth", "--pages", "1", "--out", "made", "--fonts", str(tmp_path / "none")]) == 1
    assert "scriptorium fonts install" in capsys.readouterr().err


def test_an_unknown_package_is_refused_and_the_built_in_families_are_listed(tmp_path, capsys):
    assert main(["fonts", "install", "--out", str(tmp_path), "--only", "comic-sans"]) == 2
    assert "comic-sans" in capsys.readouterr().err
    assert main(["fonts", "list"]) == 0
    assert "hand   Intuitive" in capsys.readouterr().out
