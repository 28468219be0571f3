"""Every parameter that a stage reads, typed and closed: an unknown key is refused and the nearest known one named.

`params.yaml` holds one complete set, which DVC versions. `profiles/NAME.yaml` hold what differs from the
defaults below; `scriptorium profile NAME` writes the one from the other.
"""

from __future__ import annotations

import argparse
import difflib
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ml.errors import UsageError

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A closed, immutable group of parameters."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SynthConfig(Section):
    """Synthetic pages."""

    pages: Count = Field(400, description="how many pages to set")
    long_edge: Count = Field(640, description="pixels of a page's longer side as it is set")
    density: tuple[float, float] = Field(
        (1.0, 1.0), description="pixels rendered for each pixel set, drawn from this range for each page"
    )
    body_px: tuple[float, float] = Field(
        (11.0, 15.0), description="body font size drawn from this range, in pixels"
    )
    max_words: Count = Field(700, description="words a page at most, about")
    languages: tuple[str, ...] = Field(
        ("en", "de", "fr", "es", "it", "nl", "pt"), description="ISO 639-1 codes of the words' languages"
    )
    charset: str = Field("latin", description="charset whose every character is shown, some on each page")
    templates: tuple[str, ...] = Field((), description="kinds of pages to set; none named: all")
    fonts: str | None = Field(None, description="folder of `scriptorium fonts install`; none: built-in fonts")
    degrade: Share = Field(0.7, description="share of pages that get scan degradation")


class SnapshotConfig(Section):
    """How accepted pages become a dataset."""

    val: Share = Field(0.08, description="share of documents held out for model selection")
    test: Share = Field(0.12, description="share of documents held out for the final figures")


CacheCodec = Literal["raw", "lz4", "zstd"]


class CacheConfig(Section):
    """The photometric augmentation cache."""

    variants: Count = Field(2, description="augmented copies of each training page")
    budget_gb: float = Field(
        50.0, gt=0, description="most gigabytes on disk; where too few, pages keep their first variants only"
    )
    codec: CacheCodec = Field(
        "lz4", description="how records are kept: raw is fastest, zstd a fifth to a quarter of its size"
    )
    jitter: Share = Field(0.8, description="probability of colour jitter")
    grayscale: Share = Field(0.15, description="probability of a grey page")
    blur: Share = Field(0.2, description="probability of Gaussian blur")
    compression: Share = Field(0.3, description="probability of JPEG artefacts")
    noise: Share = Field(0.2, description="probability of Gaussian noise")


class TrainingConfig(Section):
    """The engine's settings, the same for every model."""

    steps: Count = Field(300, description="optimizer steps")
    batch: Count = Field(4, description="pages a step (before accumulation)")
    accumulate: Count = Field(1, description="batches whose gradients are summed into one step")
    lr: float = Field(1e-3, gt=0, description="peak learning rate")
    lr_backbone: float = Field(1.0, gt=0, description="factor on `lr` for the backbone")
    lr_min: float = Field(1e-6, ge=0, description="learning rate at the end of the cosine")
    warmup: Share = Field(0.05, description="share of the steps that warm up linearly")
    weight_decay: float = Field(5e-4, ge=0, description="AdamW decay; norms and biases get none")
    clip: float = Field(1.0, gt=0, description="largest gradient norm")
    ema: float = Field(0.0, ge=0, lt=1, description="decay of the averaged weights; 0 turns averaging off")
    precision: Literal["32-true", "bf16-mixed"] = Field(
        "bf16-mixed", description="bfloat16 autocast or plain float32"
    )
    evaluate_every: Count = Field(100, description="steps between validations")
    patience: int = Field(
        0, ge=0, description="validations without gain before stopping; 0 never stops early"
    )
    save_every: Count = Field(50, description="steps between resumable states")
    threads: int = Field(0, ge=0, description="torch threads; 0 takes all cores")


class DistillConfig(Section):
    """How a student learns from the teacher: loss = alpha * KD + beta * ground truth."""

    alpha: float = Field(1.0, ge=0, description="weight of the distillation loss")
    beta: float = Field(1.0, ge=0, description="weight of the ground-truth loss")
    temperature: float = Field(2.0, gt=0, description="softening of the logits")
    start: Share = Field(0.0, description="share of the steps after which distillation begins")
    features: float = Field(
        1.0, ge=0, description="weight of the features' cosine within the distillation loss"
    )


class TridentDistillConfig(DistillConfig):
    """How a Trident learns from another."""

    imitate: Share = Field(
        0.0,
        description="share of the steps that come first and teach backbone and pyramid alone, to give what the "
        "teacher's give: so a new backbone comes under heads that exist",
    )


class TridentConfig(Section):
    """Trident: one network that finds regions, finds words and reads them."""

    start: str | None = Field(
        "starters/trident-small",
        description="checkpoint that training starts from where the network is built like it; null: random weights",
    )
    backbone: str = Field("resnet18", description="timm model name")
    weights: str | None = Field(None, description="backbone weights: 'hub' or a local safetensors path")
    channels: Count = Field(96, description="FPN width")
    word_stride: Literal[4, 8] = Field(4, description="stride of the level on which words are found and read")
    layout_stride: Literal[16, 32] = Field(32, description="stride of the level on which regions are found")
    tower: Count = Field(2, description="3x3 convolutions in each FCOS tower")
    norm: Literal["group", "batch"] = Field(
        "group",
        description="normalisation of pyramid and towers; batch folds into the convolutions when served",
    )
    roi: tuple[int, int] = Field((8, 32), description="height and width of a word's features")
    narrow: float = Field(
        0.0,
        ge=0,
        description="words at most so many times as wide as tall, air included, are read in half the columns; 0: none",
    )
    detail: int = Field(
        0,
        ge=0,
        description="channels of the map of half the word stride that the reading heads see too; 0 leaves it out",
    )
    reader_width: Count = Field(128, description="width of the parallel reading head")
    reader_layers: int = Field(2, ge=0, description="encoder layers in the parallel reading head")
    decoder_width: Count = Field(128, description="width of the autoregressive decoder")
    decoder_layers: int = Field(1, ge=0, description="layers of the autoregressive decoder; 0 leaves it out")
    decoder_words: Count = Field(48, description="words a step that train the decoder")
    length: Count = Field(32, description="characters a word at most, markers included")
    dropout: Share = Field(0.1, description="dropout in both reading heads")
    smoothing: Share = Field(0.1, description="label smoothing of the decoder")
    flat_start: Share = Field(
        0.3,
        description="share of the steps in which the parallel head also learns from letters of typical widths",
    )
    charset: str = Field("english", description="named charset (ml/models/charset.py), several joined by +")
    page_words: Count = Field(200, description="words a page used in training")
    erasing: Share = Field(0.5, description="probability of random erasing after normalisation")
    negative: Share = Field(0.05, description="probability of a page in negative: white print on dark")
    clogged: Share = Field(0.0, description="probability of a page whose letters' openings ink has filled")
    dark: Share = Field(0.0, description="probability of a page in little light: dark paper, darker print")
    even_boxes: bool = Field(
        True, description="every box has the same part in the boxes' loss, however many locations it holds"
    )
    layout_weight: float = Field(1.0, ge=0, description="weight of the layout loss")
    detection_weight: float = Field(1.0, ge=0, description="weight of the word detection loss")
    reading_weight: float = Field(1.0, ge=0, description="weight of the reading losses")
    long_edge: Count = Field(640, description="pixels of the longer side at which pages are read")
    text_px: float = Field(
        0.0,
        ge=0,
        description="height of letters to which a page is scaled when it is read; 0 scales it to `long_edge`",
    )
    crop: int = Field(
        0,
        ge=0,
        multiple_of=64,
        description="train on squares of this side, cut anywhere from a page; 0 trains on whole pages",
    )
    replay: Share = Field(
        0.5, description="share of the batches taken from the older pages of `train --replay`"
    )
    zoom: tuple[float, float] = Field(
        (0.75, 1.35), description="with `crop`, the page is first scaled by a factor drawn from this range"
    )
    training: TrainingConfig = TrainingConfig()  # pyright: ignore[reportCallIssue]
    distill: TridentDistillConfig = TridentDistillConfig()  # pyright: ignore[reportCallIssue]


class DFineConfig(Section):
    """A D-FINE layout detector: the teacher or a student."""

    backbone: str = Field("convnext_atto", description="timm model name")
    weights: str | None = Field(None, description="backbone weights: 'hub' or a local safetensors path")
    short_edge: tuple[int, int] = Field(
        (256, 256), description="shorter side in training, drawn from this range"
    )
    step: Count = Field(32, description="step of that draw, and the multiple that pages are padded to")
    long_edge: Count = Field(384, description="longest side")
    hidden: Annotated[int, Field(ge=32, multiple_of=32)] = Field(
        128, description="width of encoder and decoder, in attention heads of 32"
    )
    decoder_layers: Count = Field(3, description="decoder layers")
    depth: float = Field(0.34, gt=0, description="depth of the encoder's fusion blocks; D-FINE-L has 1")
    expansion: float = Field(0.5, gt=0, description="width of the fusion blocks inside; D-FINE-L has 1")
    queries: Count = Field(60, description="regions a page at most")
    denoising: int = Field(40, ge=0, description="denoising queries; 0 turns denoising off")
    geometric: bool = Field(True, description="bend training pages: perspective, rotation, elastic")
    training: TrainingConfig = TrainingConfig()  # pyright: ignore[reportCallIssue]


class InheritConfig(DistillConfig):
    """The same, and how a D-FINE student starts."""

    inherit: bool = Field(True, description="start from the teacher's weights where they fit")


class StudentConfig(DFineConfig):
    """A D-FINE student and its distillation."""

    distill: InheritConfig = InheritConfig()  # pyright: ignore[reportCallIssue]


class ExportConfig(Section):
    """ONNX export and its parity bounds."""

    opset: int = Field(20, ge=18, description="ONNX operator set")
    tensor_bound: float = Field(2e-3, gt=0, description="largest difference of an output tensor from torch")
    metric_bound: float = Field(0.01, gt=0, description="largest loss of the metric against torch")
    pages: Count = Field(16, description="validation pages on which parity is measured")
    int8: tuple[str, ...] = Field(
        ("trident",),
        description="models whose convolutions are 8-bit integers, unless a figure certainly falls by more than "
        "metric_bound; none on GPUs, which take the float graph",
    )
    calibration: Count = Field(12, description="training pages that show the integers their ranges")


class GateConfig(Section):
    """Floors and comparisons that a challenger must pass before it is served."""

    word_f1: Share = Field(0.5, description="floor of Trident's word detection F1")
    cer: Annotated[float, Field(ge=0)] = Field(0.6, description="ceiling of Trident's character error rate")
    end_to_end_f1: Share = Field(0.1, description="floor of Trident's end-to-end word F1")
    layout_ap50: Share = Field(0.02, description="floor of a layout model's AP50")
    resamples: Count = Field(1000, description="bootstrap resamples over documents")
    tolerance: Share = Field(0.01, description="how much worse than the champion a challenger may be")


class ServingConfig(Section):
    """How models are published and served."""

    repository: str = Field("repository", description="folder of the Triton model repository")
    keep: Count = Field(3, description="versions kept of each model")
    max_batch: Count = Field(8, description="largest batch of a request queue")
    queue_us: Annotated[int, Field(ge=0)] = Field(
        2000, description="microseconds a request waits for company"
    )


class Params(Section):
    """Everything in params.yaml."""

    seed: int = Field(7, ge=0, description="seed of every random draw")
    synth: SynthConfig = SynthConfig()  # pyright: ignore[reportCallIssue]
    snapshot: SnapshotConfig = SnapshotConfig()  # pyright: ignore[reportCallIssue]
    cache: CacheConfig = CacheConfig()  # pyright: ignore[reportCallIssue]
    trident: TridentConfig = TridentConfig()  # pyright: ignore[reportCallIssue]
    teacher: DFineConfig = DFineConfig()  # pyright: ignore[reportCallIssue]
    student: StudentConfig = StudentConfig()  # pyright: ignore[reportCallIssue]
    export: ExportConfig = ExportConfig()  # pyright: ignore[reportCallIssue]
    gate: GateConfig = GateConfig()  # pyright: ignore[reportCallIssue]
    serving: ServingConfig = ServingConfig()  # pyright: ignore[reportCallIssue]


def _known_keys(section: type[BaseModel], path: tuple[Any, ...]) -> list[str]:
    for step in path:
        annotation = section.model_fields[step].annotation if step in section.model_fields else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        section = annotation
    return list(section.model_fields)


def parse_params(values: Any, origin: str) -> Params:
    """Validate `values`. Raises UsageError that names the first bad key, its bound, and the nearest known key."""
    try:
        return Params.model_validate(values if values is not None else {})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            *parents, name = first["loc"]
            known = _known_keys(Params, tuple(parents))
            near = difflib.get_close_matches(str(name), known, n=1, cutoff=0)
            raise UsageError(
                f"{origin}: unknown key '{key}'; did you mean '{'.'.join([*map(str, parents), *near])}'?"
            ) from None
        raise UsageError(f"{origin}: '{key}' is {first['input']!r}: {first['msg']}") from None


def load_params(path: Path = Path("params.yaml")) -> Params:
    """Read a complete parameter file. Raises UsageError for a missing file, bad YAML or a bad key."""
    return parse_params(_read_yaml(path), str(path))


def _read_yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(
            f"{path}: no such file; run from the project's folder or pass --params FILE"
        ) from None
    except yaml.YAMLError as error:
        raise UsageError(f"{path}: not YAML: {' '.join(str(error).split())}") from None


def add_params_option(parser: argparse.ArgumentParser) -> None:
    """The `--params FILE` option that every stage has."""
    parser.add_argument(
        "--params",
        type=Path,
        default=Path("params.yaml"),
        metavar="FILE",
        help="parameters (default: %(default)s)",
    )


#: Where the named profiles lie.
PROFILES = Path("profiles")


# --- the command `scriptorium profile` --------------------------------------------------------------------------


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "name", nargs="?", help="a name in profiles/ (without .yaml) or a YAML file; without it, list them"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("params.yaml"),
        metavar="FILE",
        help="what to write (default: %(default)s)",
    )


def load_profile(name: str) -> Params:
    """The parameters of a name in profiles/, or of a YAML file. Raises UsageError where there is no such file."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else PROFILES / f"{name}.yaml"
    if not path.exists():
        near = difflib.get_close_matches(name, _profiles(), n=1, cutoff=0)
        raise UsageError(f"{path}: no such profile" + (f"; did you mean '{near[0]}'?" if near else ""))
    return parse_params(_read_yaml(path), str(path))


def _profiles() -> list[str]:
    return sorted(path.stem for path in PROFILES.glob("*.yaml"))


def run(args: argparse.Namespace) -> int:
    if args.name is None:
        print("\n".join(_profiles()))
        return 0
    params = load_profile(args.name)
    body = yaml.safe_dump(params.model_dump(mode="json"), sort_keys=False, default_flow_style=None, width=100)
    args.out.write_text(
        f"# Written by `scriptorium profile {args.name}`; every key is explained in ml/config.py.\n{body}",
        encoding="utf-8",
    )
    print(f"{args.out}: profile {Path(args.name).stem}")
    return 0
