"""Makes the embedded server's environment: `python -m ml.serving.setup [FOLDER]`.

Needs only `uv` on the PATH. An environment already made from the same pins is left as it is.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from ml.errors import InputError
from ml.serving.environment import PYTHON, ROOT, MissingLibraryError, default_folder, find_environment

PINS = ROOT / "requirements" / "serving.txt"


def make_environment(folder: Path) -> None:
    """Create `folder` from the pins. Raises InputError when uv is missing or an installation fails."""
    uv = shutil.which("uv")
    if uv is None:
        raise InputError("uv is not on the PATH; install it (https://docs.astral.sh/uv/) and run this again")
    stamp = folder / "pins.txt"
    if stamp.exists() and stamp.read_bytes() == PINS.read_bytes():
        find_environment(folder)
        return
    try:
        _install(uv, folder)
    except MissingLibraryError as missing:
        # This Python was built without its shared library; uv's own builds have it.
        try:
            _install(uv, folder, "--managed-python")
        except InputError:
            raise missing from None
    shutil.copyfile(PINS, stamp)


def _install(uv: str, folder: Path, *options: str) -> None:
    # --clear: an environment without a stamp is half made, or of other pins.
    _run([uv, "venv", "--quiet", "--clear", *options, "--python", PYTHON, str(folder)])
    _run([uv, "pip", "install", "--quiet", "--python", str(folder / "bin" / "python"), "-r", str(PINS)])
    triton = folder / "lib" / f"python{PYTHON}" / "site-packages" / "pytriton" / "tritonserver"
    stub = triton / "python_backend_stubs" / PYTHON / "triton_python_backend_stub"
    for executable in (triton / "bin" / "tritonserver", stub):
        executable.chmod(0o755)  # installers that unpack wheels by hand lose the bit
    find_environment(folder)


def _run(command: list[str]) -> None:
    done = subprocess.run(command, check=False)
    if done.returncode:
        raise InputError(f"`{' '.join(command)}` failed (exit {done.returncode}); its own message is above")


def main(arguments: list[str]) -> int:
    folder = Path(arguments[0]) if arguments else default_folder()
    try:
        make_environment(folder)
    except InputError as error:
        print(f"setup of the embedded server: {error}", file=sys.stderr)
        return 1
    print(f"{folder}: tritonserver is ready")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
