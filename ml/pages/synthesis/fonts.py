"""The fonts that pages are set in: those of packages we depend on or, by choice, a folder of installed ones.

Never the machine's own, so page `i` of seed `s` is the same on every machine that has the same folder.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import json
import os
import tempfile
from pathlib import Path
from typing import NamedTuple

import pymupdf_fonts
import typst

from ml.errors import InputError

#: List of the families in an installed folder; `ml.pages.synthesis.font_install` writes it.
CATALOGUE = "fonts.json"


class Family(NamedTuple):
    """A font family and the role that it can play."""

    name: str
    kind: str  # serif, sans, mono or hand


BUILT_IN = (
    Family("Caladea", "serif"),
    Family("DejaVu Serif", "serif"),
    Family("Libertinus Serif", "serif"),
    Family("New Computer Modern", "serif"),
    Family("STIXGeneral", "serif"),
    Family("Source Serif Pro", "serif"),
    Family("DejaVu Sans", "sans"),
    Family("Hanken Grotesk", "sans"),
    Family("Lato", "sans"),
    Family("Manrope", "sans"),
    Family("Roboto", "sans"),
    Family("Source Sans Pro", "sans"),
    Family("FiraGO", "sans"),
    Family("Noto Sans", "sans"),
    Family("Ubuntu", "sans"),
    Family("DejaVu Sans Mono", "mono"),
    Family("Cascadia Mono", "mono"),
    Family("Fira Mono", "mono"),
    Family("Space Mono", "mono"),
    Family("Ubuntu Mono", "mono"),
    Family("Intuitive", "hand"),
)
#: Who draws the characters that a family lacks: these have every character of our charsets.
FALLBACK = {"serif": "DejaVu Serif", "sans": "DejaVu Sans", "mono": "DejaVu Sans Mono", "hand": "DejaVu Sans"}
#: Package, folder in it, and which of its files.
_SOURCES = (
    ("matplotlib", "mpl-data/fonts/ttf", "DejaVu*.ttf"),
    ("matplotlib", "mpl-data/fonts/ttf", "STIXGeneral*.ttf"),
    ("font_caladea", "files", "*.ttf"),
    ("font_hanken_grotesk", "files", "*.otf"),
    ("font_intuitive", "files", "*.ttf"),
    ("font_lato", "files", "*.ttf"),
    ("font_manrope", "files", "Manrope-[BMRS]*.ttf"),  # the variable face beside them draws no weights
    ("font_roboto", "files", "*.ttf"),
    ("font_source_sans_pro", "files", "*.ttf"),  # the .otf beside them are the same faces
    ("font_source_serif_pro", "files", "*.ttf"),
)
#: Faces that pymupdf-fonts keeps as data: regular, bold, italic and bold italic where there are.
_PACKED = (
    *("figo", "figbo", "figit", "figbi", "notos", "notosbo", "notosit", "notosbi"),
    *("ubuntu", "ubuntubo", "ubuntuit", "ubuntubi", "ubuntm", "ubuntmbo", "ubuntmit", "ubuntmbi"),
    *("cascadia", "cascadiab", "cascadiai", "cascadiabi"),
    *("fimo", "fimbo", "spacemo", "spacembo", "spacemit", "spacembi"),
)


@functools.cache
def families(installed: str | None = None) -> tuple[Family, ...]:
    """The families to draw from: the built-in ones and those of the folder `installed`.

    Raises InputError when the folder has no catalogue.
    """
    if installed is None:
        return BUILT_IN
    path = Path(installed) / CATALOGUE
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))["families"]
        return BUILT_IN + tuple(Family(str(row["name"]), str(row["kind"])) for row in listed)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: no catalogue of fonts ({error}); run `scriptorium fonts install`"
        ) from error


@functools.cache
def compiler(installed: str | None = None) -> typst.Compiler:
    """This process's Typst, with `families(installed)` loaded and nothing else to read."""
    folder = str(_built_in())
    fonts = typst.Fonts(include_system_fonts=False, font_paths=[folder, *([installed] if installed else [])])
    missing = {family.name for family in families(installed)} - set(fonts.families())
    if missing:
        raise RuntimeError(
            f"fonts missing from the installed packages: {', '.join(sorted(missing))}; run `make setup`"
        )
    return typst.Compiler(root=folder, font_paths=fonts, ignore_system_fonts=True)


@functools.cache
def _built_in() -> Path:
    """A folder with the built-in faces, made once in the user's cache: Typst takes folders, and every font in them."""
    links = {}
    for package, inner, pattern in _SOURCES:
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            raise RuntimeError(f"the package {package} is not installed; run `make setup`")
        for file in sorted((Path(spec.origin).parent / inner).glob(pattern)):
            links[file.name] = file
    parts = [f"{name} {file} {file.stat().st_size}" for name, file in sorted(links.items())]
    digest = hashlib.sha256("\n".join([*parts, *_PACKED, pymupdf_fonts.__file__]).encode()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "scriptorium"
    folder = cache / f"fonts-{digest}"
    if folder.exists():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fonts-", dir=cache, ignore_cleanup_errors=True) as beside:
        for name, file in links.items():
            (Path(beside) / name).symlink_to(file)
        for name in _PACKED:
            (Path(beside) / f"{name}.ttf").write_bytes(pymupdf_fonts.fontbuffers[name]())
        # Whoever is first names it; the others' copies are the same, and go. (A full folder cannot be renamed over.)
        with contextlib.suppress(OSError):
            Path(beside).rename(folder)
    if not folder.exists():
        raise RuntimeError(f"{folder}: cannot be made; is {cache} writable?")
    return folder
