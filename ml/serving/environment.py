"""Where the embedded server's pieces are: its virtual environment, its libpython, its backends."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ml.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
#: Python of the server's environment: the newest for which both its stub and wheels of all its needs exist.
PYTHON = "3.11"
LIBPYTHON = f"libpython{PYTHON}.so.1.0"
TEMPLATES = ROOT / "triton_models"


class MissingLibraryError(InputError):
    """No shared library of the server's Python is on this machine."""


def default_folder() -> Path:
    """The environment's folder: SCRIPTORIUM_SERVE_ENV, or `.venv-serve` beside the project."""
    return Path(os.environ.get("SCRIPTORIUM_SERVE_ENV") or ROOT / ".venv-serve")


@dataclass(frozen=True)
class ServerEnvironment:
    """An environment that has been found whole."""

    bin: Path  # the environment's own executables
    site_packages: Path
    libpython: Path  # the shared library that the Python backend's stub is linked with

    @property
    def triton(self) -> Path:
        return self.site_packages / "pytriton" / "tritonserver"

    def variables(self) -> dict[str, str]:
        """Environment variables of the server process."""
        # The stub starts an isolated Python (no PYTHONPATH, no PYTHONHOME): it takes its prefix and packages
        # from the first `python3` on the PATH, so that has to be the environment's.
        libraries = (self.site_packages / "nvidia_pytriton.libs", self.libpython.parent)
        return {
            "PATH": os.pathsep.join((str(self.bin), os.environ.get("PATH", os.defpath))),
            "LANG": "C.UTF-8",
            "LD_LIBRARY_PATH": os.pathsep.join(str(folder) for folder in libraries),
        }

    def assemble_backends(self, folder: Path) -> Path:
        """Lay out Triton's backend directory in `folder`: the Python backend and our `onnxruntime`."""
        python = folder / "python"
        python.mkdir(parents=True)
        stub = self.triton / "python_backend_stubs" / PYTHON / "triton_python_backend_stub"
        for file in [*(self.triton / "backends" / "python").iterdir(), stub]:
            shutil.copy(
                file, python / file.name
            )  # 3 MB; the server refuses links out of its backend directory
        shutil.copytree(
            TEMPLATES / "backends", folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__")
        )
        return folder


def find_environment(folder: Path | None = None) -> ServerEnvironment:
    """The server's environment in `folder`. Raises InputError that says how to make what is missing."""
    folder = default_folder() if folder is None else folder
    site_packages = folder / "lib" / f"python{PYTHON}" / "site-packages"
    if not (site_packages / "pytriton" / "tritonserver" / "bin" / "tritonserver").exists():
        raise InputError(
            f"{folder}: the embedded server is not installed there; make it with `python -m ml.serving.setup`"
        )
    library = next((path for path in _libpythons(folder / "bin" / "python") if path.exists()), None)
    if library is not None:
        return ServerEnvironment(folder / "bin", site_packages, library)
    raise MissingLibraryError(
        f"{LIBPYTHON} is nowhere on this machine, and the embedded server needs it; "
        f"install it with `uv python install {PYTHON}` (or your system's libpython{PYTHON} package)"
    )


def _libpythons(python: Path) -> Iterator[Path]:
    """Every place where the library may lie, the environment's own Python first."""
    places = "[sysconfig.get_config_var('LIBDIR'), sys.base_prefix]"
    probe = f"import json, sys, sysconfig; print(json.dumps({places}))"
    answer = subprocess.run([python, "-I", "-c", probe], capture_output=True, text=True, check=False)
    if answer.returncode == 0:
        libdir, base = json.loads(answer.stdout)
        yield from (Path(libdir or base) / LIBPYTHON, Path(base) / "lib" / LIBPYTHON)
    ldconfig = shutil.which("ldconfig", path=f"{os.environ.get('PATH', '')}:/sbin:/usr/sbin")
    if ldconfig:
        cache = subprocess.run([ldconfig, "-p"], capture_output=True, text=True, check=False).stdout
        yield from (
            Path(line.split("=> ")[1]) for line in cache.splitlines() if line.strip().startswith(LIBPYTHON)
        )
    managed = Path(
        os.environ.get("UV_PYTHON_INSTALL_DIR") or Path.home() / ".local" / "share" / "uv" / "python"
    )
    yield from managed.glob(f"cpython-{PYTHON}*/lib/{LIBPYTHON}")
