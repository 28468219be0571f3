"""The stage graph as DVC itself resolves it: `dvc.yaml` with its `foreach`, `vars` and `params.yaml`."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from ml.errors import UsageError

PIPELINE = "dvc.yaml"


@dataclass(frozen=True)
class Output:
    """A file or folder that a stage makes.

    `digest` is what dvc.lock records for the last run, None before the first. `plot` holds DVC's plot
    properties (x, y, ...) where the output is a plot.
    """

    path: str
    digest: str | None = None
    metric: bool = False
    plot: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Stage:
    """One resolved stage. `name` is DVC's address of it ("snapshot", "batch@synthetic")."""

    name: str
    command: str
    description: str = ""
    deps: tuple[str, ...] = ()
    params: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    outs: tuple[Output, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)

    @property
    def template(self) -> str:
        """The name under `stages:` in dvc.yaml; stages of one `foreach` share it."""
        return self.name.partition("@")[0]

    @property
    def item(self) -> str | None:
        """The `foreach` item that this stage was made for, None outside a `foreach`."""
        return self.name.partition("@")[2] or None

    @property
    def version(self) -> str | None:
        """One digest over all outputs as dvc.lock has them; None while an output was never made."""
        if not self.outs or any(out.digest is None for out in self.outs):
            return None
        if len(self.outs) == 1:
            return self.outs[0].digest
        joined = "\n".join(f"{out.path} {out.digest}" for out in self.outs)
        return hashlib.sha256(joined.encode()).hexdigest()[:32]


class StageGraph(Mapping[str, Stage]):
    """The stages of a project by name, in the order of dvc.yaml."""

    def __init__(self, root: Path, stages: Mapping[str, Stage]) -> None:
        self.root = root
        self._stages = dict(stages)

    @classmethod
    def load(cls, root: Path) -> "StageGraph":
        """Resolve the project in `root`. Raises UsageError where dvc.yaml or its variables cannot be read."""
        from dvc.dvcfile import load_file  # noqa: PLC0415  (half a second, and only needed here)
        from dvc.exceptions import DvcException  # noqa: PLC0415
        from dvc.repo import Repo  # noqa: PLC0415

        try:
            with Repo(str(root)) as repo:
                loaded = load_file(repo, str(root / PIPELINE)).stages
                stages = {str(name): _stage(str(name), loaded[name], root) for name in loaded}
        except DvcException as error:
            raise UsageError(
                f"{root / PIPELINE} cannot be read: {error}; `dvc status` shows where it is wrong"
            ) from error
        return cls(root, stages)

    def __getitem__(self, name: str) -> Stage:
        return self._stages[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._stages)

    def __len__(self) -> int:
        return len(self._stages)

    def upstream(self, stage: Stage) -> tuple[Stage, ...]:
        """The stages that make what `stage` reads; a path also needs what lies above or under it."""
        return tuple(
            other
            for other in self.values()
            if other.name != stage.name
            and any(_overlap(out.path, dep) for out in other.outs for dep in stage.deps)
        )


def _overlap(one: str, other: str) -> bool:
    a, b = PurePosixPath(one), PurePosixPath(other)
    return a == b or a in b.parents or b in a.parents


def _stage(name: str, stage: Any, root: Path) -> Stage:
    """Our view of one `dvc.stage.PipelineStage`."""
    from dvc.dependency import ParamsDependency  # noqa: PLC0415

    params = {dep.def_path: tuple(dep.params) for dep in stage.deps if isinstance(dep, ParamsDependency)}
    return Stage(
        name=name,
        command=stage.cmd if isinstance(stage.cmd, str) else "\n".join(stage.cmd),
        description=stage.desc or "",
        deps=tuple(_path(dep, root) for dep in stage.deps if not isinstance(dep, ParamsDependency)),
        params=params,
        outs=tuple(_output(out, root) for out in stage.outs),
        meta=stage.meta or {},
    )


def _output(out: Any, root: Path) -> Output:
    plot = out.plot if isinstance(out.plot, dict) else ({} if out.plot else None)
    digest = out.hash_info.value if out.hash_info else None
    return Output(_path(out, root), digest, bool(out.metric), plot)


def _path(entry: Any, root: Path) -> str:
    """A path relative to the root, whatever the stage's `wdir`; URLs stay as they are."""
    if entry.protocol != "local":
        return entry.def_path
    path = Path(entry.fs_path)
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()
