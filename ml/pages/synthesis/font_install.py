"""`scriptorium fonts`: hundreds of faces for the synthesiser, fetched through npm and Debian's package tools.

Pages set with the built-in fonts need none of this. Every source below is under a free font licence (SIL OFL,
Apache 2.0, GUST, Liberation's GPL with font exception); the packages carry the texts.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import typst
from fontTools.ttLib import TTFont, TTLibError

from ml.errors import InputError, UsageError
from ml.pages.synthesis.fonts import BUILT_IN, CATALOGUE, families
from ml.progress import track

DEFAULT = Path(".scriptorium/fonts")
#: Families on npm under @fontsource/, by role.
_NPM = {
    "serif": (
        "merriweather lora playfair-display pt-serif crimson-text eb-garamond libre-baskerville bitter "
        "cormorant-garamond noto-serif vollkorn cardo domine spectral alegreya old-standard-tt gelasio tinos "
        "zilla-slab roboto-slab arvo rokkitt frank-ruhl-libre quattrocento neuton sorts-mill-goudy "
        "ibm-plex-serif literata newsreader libre-caslon-text gentium-book-plus im-fell-english"
    ),
    "sans": (
        "open-sans montserrat raleway oswald nunito poppins work-sans inter rubik karla barlow fira-sans "
        "pt-sans cabin dosis exo-2 archivo arimo asap titillium-web mulish quicksand josefin-sans overpass "
        "signika hind dm-sans ibm-plex-sans public-sans libre-franklin roboto-condensed pt-sans-narrow "
        "barlow-condensed saira yanone-kaffeesatz archivo-narrow"
    ),
    "mono": (
        "courier-prime inconsolata source-code-pro anonymous-pro cousine ibm-plex-mono jetbrains-mono pt-mono "
        "cutive-mono special-elite share-tech-mono overpass-mono vt323 nanum-gothic-coding xanh-mono"
    ),
    "hand": (
        "caveat dancing-script kalam patrick-hand indie-flower shadows-into-light reenie-beanie "
        "homemade-apple nothing-you-could-do gochi-hand handlee architects-daughter la-belle-aurore "
        "cedarville-cursive rock-salt coming-soon sue-ellen-francisco over-the-rainbow zeyada kristi "
        "nanum-pen-script gloria-hallelujah swanky-and-moo-moo just-another-hand permanent-marker"
    ),
}
#: Packages of Debian, with the role of families whose name does not tell.
_DEBIAN = {
    "fonts-liberation": "sans",
    "fonts-urw-base35": "serif",
    "fonts-texgyre": "serif",
    "fonts-crosextra-carlito": "sans",
    "fonts-cmu": "serif",
    "fonts-sil-gentium": "serif",
    "fonts-sil-charis": "serif",
    "fonts-junicode": "serif",
    "fonts-linuxlibertine": "serif",
}
#: Faces taken of a family on npm, where it has them: weight and style.
_FACES = ("400-normal", "700-normal", "400-italic", "700-italic", "300-normal", "500-normal", "600-normal")
#: Words in a family's name that tell its role, and such that say it sets no text.
_ROLES = {"mono": "mono", "coding": "mono", "courier": "mono", "cursor": "mono", "typewriter": "mono",
          "sans": "sans", "heros": "sans", "adventor": "sans", "gothic": "sans", "arial": "sans", "carlito": "sans",
          "biolinum": "sans", "serif": "serif", "chancery": "hand", "chorus": "hand", "z003": "hand"}  # fmt: skip
_NO_TEXT = ("symbol", "dingbat", "math", "d050000l", "standard symbols", "keyboard", "outline", "initials",
            "display", "shadow")  # fmt: skip
#: Every text face draws at least these.
_NEEDED = frozenset(map(ord, "ABCXYZabcxyz0123456789.,:;-()"))
_SECONDS = 300


def add_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    install = commands.add_parser("install", help="fetch fonts; what is there already is kept")
    install.add_argument(
        "--out", type=Path, default=DEFAULT, metavar="DIR", help="folder to fill (default: %(default)s)"
    )
    install.add_argument(
        "--source", choices=("all", "npm", "debian"), default="all", help="where from (default: %(default)s)"
    )
    install.add_argument("--only", nargs="+", metavar="NAME", help="only these packages")
    listed = commands.add_parser("list", help="the families that pages are set in")
    listed.add_argument("--fonts", type=Path, metavar="DIR", help="with those of this folder")


def run(args: argparse.Namespace) -> int:
    if args.action == "list":
        for family in families(str(args.fonts) if args.fonts else None):
            print(f"{family.kind:<6} {family.name}")
        return 0
    packages = [
        *(_npm_packages() if args.source != "debian" else ()),
        *(_debian_packages() if args.source != "npm" else ()),
    ]
    if args.only:
        unknown = set(args.only) - {name for _, name, _ in packages}
        if unknown:
            raise UsageError(f"--only {' '.join(sorted(unknown))}: not among the packages that are known")
        packages = [package for package in packages if package[1] in args.only]
    failed = install(args.out, packages)
    found = families(str(args.out))[len(BUILT_IN) :]
    faces = sum(path.suffix in (".ttf", ".otf") for path in args.out.iterdir())
    print(
        f"{args.out}: {len(found)} families, {faces} faces; set `synth.fonts: {args.out}` or pass --fonts {args.out}"
    )
    for name, reason in failed:
        print(f"  left out {name}: {reason}")
    return 1 if failed else 0


def _npm_packages() -> list[tuple[str, str, str]]:
    return [("npm", name, kind) for kind, names in _NPM.items() for name in names.split()]


def _debian_packages() -> list[tuple[str, str, str]]:
    return [("debian", name, kind) for name, kind in _DEBIAN.items()]


def install(out: Path, packages: list[tuple[str, str, str]]) -> list[tuple[str, str]]:
    """Fetch (source, name, role) packages into `out`, each complete or not at all. Returns what failed, and why."""
    out.mkdir(parents=True, exist_ok=True)
    fetched, rows = _catalogue(out)
    failed: list[tuple[str, str]] = []
    for source, name, kind in track(packages, len(packages), "fonts"):
        if f"{source}:{name}" in fetched:
            continue
        with tempfile.TemporaryDirectory(prefix="scriptorium-font-") as folder:
            try:
                fetch = _fetch_npm if source == "npm" else _fetch_debian
                added = list(_added(fetch(name, Path(folder)), out, kind))
            except (InputError, OSError, subprocess.SubprocessError, tarfile.TarError) as error:
                failed.append((name, " ".join(str(error).split())[:200]))
                continue
        fetched.append(f"{source}:{name}")
        for family, role in added:
            rows.setdefault(family, {"name": family, "kind": role})
        _write(out, fetched, rows)
    # Typst counts narrow and slanted cuts as faces of their family: only what it can be asked for is listed.
    known = set(typst.Fonts(include_system_fonts=False, font_paths=[out]).families())
    _write(out, fetched, {name: row for name, row in rows.items() if name in known})
    return failed


def _added(files: list[Path], out: Path, kind: str) -> Iterator[tuple[str, str]]:
    """Copy text faces into `out` as TrueType or OpenType: family and role of each."""
    for path in files:
        try:
            with TTFont(path, recalcTimestamp=False) as font:
                names = font["name"]
                family = str(names.getDebugName(16) or names.getDebugName(1) or "").strip()  # type: ignore[attr-defined]
                drawn = font.getBestCmap() or {}
                lowered = family.lower()
                if not family or any(word in lowered for word in _NO_TEXT) or not set(drawn) >= _NEEDED:
                    continue
                font.flavor = None
                font.save(out / f"{path.stem}{'.otf' if 'CFF ' in font else '.ttf'}")
        except (TTLibError, KeyError, AssertionError) as error:
            raise InputError(f"{path.name}: not a font ({error})") from error
        role = next((role for word, role in _ROLES.items() if word in lowered), kind)
        yield family, role


def _fetch_npm(name: str, folder: Path) -> list[Path]:
    """The Latin faces of @fontsource/NAME."""
    _call(["npm", "pack", "--silent", f"@fontsource/{name}"], folder)
    archives = list(folder.glob("*.tgz"))
    if len(archives) != 1:
        raise InputError(f"npm packed {len(archives)} archives")
    wanted = {f"{name}-latin-{face}.woff" for face in _FACES}
    with tarfile.open(archives[0]) as archive:
        for member in archive:
            if member.isfile() and Path(member.name).name in wanted:
                file = archive.extractfile(member)
                assert file is not None
                (folder / Path(member.name).name).write_bytes(file.read())
    files = sorted(folder.glob("*.woff"))
    if not files:
        raise InputError("it holds no Latin face")
    return files


def _fetch_debian(name: str, folder: Path) -> list[Path]:
    """The fonts in Debian's package NAME, unpacked without installing it."""
    _call(["apt-get", "download", name], folder)
    archives = list(folder.glob("*.deb"))
    if len(archives) != 1:
        raise InputError(f"apt-get brought {len(archives)} archives")
    _call(["dpkg-deb", "--extract", str(archives[0]), "unpacked"], folder)
    files = {p.stem: p for p in sorted((folder / "unpacked").rglob("*.[ot]tf")) if not p.is_symlink()}
    if not files:
        raise InputError("it holds no TrueType or OpenType face")
    return list(files.values())


def _call(command: list[str], folder: Path) -> None:
    if shutil.which(command[0]) is None:
        raise InputError(f"`{command[0]}` is not installed")
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_SECONDS, check=False)
    if done.returncode:
        raise InputError(f"`{' '.join(command[:3])}` failed: {(done.stderr or done.stdout).strip()[-160:]}")


def _catalogue(out: Path) -> tuple[list[str], dict[str, dict]]:
    """The packages that were fetched, and the families by name."""
    path = out / CATALOGUE
    if not path.exists():
        return [], {}
    listed = json.loads(path.read_text(encoding="utf-8"))
    return listed["packages"], {row["name"]: row for row in listed["families"]}


def _write(out: Path, packages: list[str], rows: dict[str, dict]) -> None:
    beside = out / f"{CATALOGUE}.new"
    listed = {"packages": packages, "families": [rows[name] for name in sorted(rows)]}
    beside.write_text(json.dumps(listed, indent=1) + "\n", encoding="utf-8")
    beside.replace(out / CATALOGUE)
