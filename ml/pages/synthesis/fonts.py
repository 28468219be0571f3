"""The fonts that pages are set in: those of Typst and of the packages we depend on, never the machine's own.

So page `i` of seed `s` is the same on every machine.
"""

from __future__ import annotations

import functools
import importlib.util
import tempfile
from pathlib import Path
from typing import NamedTuple

import pymupdf_fonts
import typst


class Family(NamedTuple):
    """A font family and the role that it can play."""

    name: str
    kind: str  # serif, sans or mono


FAMILIES = (
    Family("Caladea", "serif"),
    Family("DejaVu Serif", "serif"),
    Family("Libertinus Serif", "serif"),
    Family("New Computer Modern", "serif"),
    Family("STIXGeneral", "serif"),
    Family("Source Serif Pro", "serif"),
    Family("DejaVu Sans", "sans"),
    Family("Hanken Grotesk", "sans"),
    Family("Lato", "sans"),
    Family("Source Sans Pro", "sans"),
    Family("FiraGO", "sans"),
    Family("Noto Sans", "sans"),
    Family("Ubuntu", "sans"),
    Family("DejaVu Sans Mono", "mono"),
    Family("Cascadia Mono", "mono"),
    Family("Fira Mono", "mono"),
    Family("Space Mono", "mono"),
    Family("Ubuntu Mono", "mono"),
)
#: Package, folder in it, and which of its files.
_SOURCES = (
    ("matplotlib", "mpl-data/fonts/ttf", "DejaVu*.ttf"),
    ("matplotlib", "mpl-data/fonts/ttf", "STIXGeneral*.ttf"),
    ("font_caladea", "files", "*.ttf"),
    ("font_hanken_grotesk", "files", "*.otf"),
    ("font_lato", "files", "*.ttf"),
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
def compiler() -> typst.Compiler:
    """This process's Typst, with `FAMILIES` loaded and nothing else to read."""
    # Typst takes folders, and takes every font in them; links choose the files.
    folder = _folder()
    for package, inner, pattern in _SOURCES:
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            raise RuntimeError(f"the package {package} is not installed; run `make setup`")
        for file in sorted((Path(spec.origin).parent / inner).glob(pattern)):
            (Path(folder.name) / file.name).symlink_to(file)
    for name in _PACKED:
        (Path(folder.name) / f"{name}.ttf").write_bytes(pymupdf_fonts.fontbuffers[name]())
    fonts = typst.Fonts(include_system_fonts=False, font_paths=[folder.name])
    missing = {family.name for family in FAMILIES} - set(fonts.families())
    if missing:
        raise RuntimeError(
            f"fonts missing from the installed packages: {', '.join(sorted(missing))}; run `make setup`"
        )
    return typst.Compiler(root=folder.name, font_paths=fonts, ignore_system_fonts=True)


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="scriptorium-fonts-")
