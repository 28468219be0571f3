from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ml.config import DFineConfig, DistillConfig, Params
from ml.errors import InputError, UsageError
from ml.pages import Page, Region, page_id
from ml.pages.labels import CANONICAL
from ml.pages.store import PageWriter
from ml.predictor import open_predictor
from ml.training.distill import DistillationSystem, boxes_like, inherit, train_student
from ml.training.layout import LayoutSteps, LayoutSystem, fresh_network, train_teacher
from ml.training.soft_targets import soft_classes

TINY = {
    "backbone": "test_convnext",
    "short_edge": [64, 64],
    "long_edge": 96,
    "hidden": 32,
    "decoder_layers": 2,
    "queries": 12,
    "denoising": 8,
    "training": {"batch": 2, "steps": 2, "evaluate_every": 2, "save_every": 2, "precision": "32-true"},
}
REGIONS = (Region((10, 10, 100, 30), "Text"), Region((10, 150, 60, 160), "Page-footer"))


def page(number: int, regions=REGIONS, width: int = 128, height: int = 192) -> Page:
    pixels = np.full((height, width, 3), 255, np.uint8)
    pixels[10:30, 10 + number : 100] = 0
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    image = file.getvalue()
    return Page(page_id(image), f"d{number}", width, height, image, None, regions, "synthetic")


def dataset(folder: Path, pages: list[Page]) -> Path:
    for split in ("train", "val"):
        with PageWriter(folder / split) as writer:
            for item in pages:
                writer.write(item)
    (folder / "manifest.json").write_text(json.dumps({"digest": "d"}))
    return folder


def config(**changes) -> DFineConfig:
    return DFineConfig.model_validate(TINY | changes)


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> LayoutSteps:
    folder = dataset(tmp_path_factory.mktemp("data"), [page(i) for i in range(5)])
    return LayoutSteps(folder, None, config(), seed=3)


def test_validation_targets_are_the_regions_on_the_canvas(steps: LayoutSteps) -> None:
    batch = next(iter(steps.validation()))
    assert batch["image"].shape == (2, 96, 64, 3)
    assert batch["labels"][0].tolist() == [CANONICAL.index("Text"), CANONICAL.index("Page-footer")]
    # The page is halved: x 10..100 of 128, y 10..30 of 192.
    expected = [55 / 128, 20 / 192, 90 / 128, 20 / 192]
    assert batch["boxes"][0, 0].tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("geometric", [False, True])
def test_training_boxes_move_with_the_ink(tmp_path: Path, geometric: bool) -> None:
    folder = dataset(tmp_path, [page(0, REGIONS[:1])])
    steps = LayoutSteps(folder, None, config(short_edge=[40, 64], geometric=geometric), seed=1)
    places = set()
    for k in range(6):
        batch = steps[k]
        for image, box in zip(batch["image"].numpy(), batch["boxes"][:, 0].numpy(), strict=True):
            ink = np.argwhere(image[..., 0] < 128)
            (top, left), (bottom, right) = ink.min(0), ink.max(0) + 1
            cx, cy, w, h = box * [64, 96, 64, 96]
            found = [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]
            assert found == pytest.approx([left, top, right, bottom], abs=1.6)
            places.add((round(float(cx)), round(float(cy))))
    assert len(places) > 3  # scale and place are drawn


def test_pages_are_bent_in_training_alone(tmp_path: Path) -> None:
    folder = dataset(tmp_path, [page(0, REGIONS[:1])])
    plain, bent = (LayoutSteps(folder, None, config(geometric=on), seed=1) for on in (False, True))
    assert any(not torch.equal(plain[k]["image"], bent[k]["image"]) for k in range(4))
    held = [next(iter(steps.validation()))["image"] for steps in (plain, bent)]
    assert torch.equal(*held)


def test_batch_k_is_a_function_of_seed_and_k(steps: LayoutSteps) -> None:
    again = LayoutSteps(steps.train.directory.parent, None, config(), seed=3)
    other = LayoutSteps(steps.train.directory.parent, None, config(), seed=4)
    steps[1]  # what was read before makes no difference
    assert all(torch.equal(a, b) for a, b in zip(steps[7].values(), again[7].values(), strict=True))
    assert not torch.equal(steps[7]["image"], other[7]["image"])


def test_every_page_is_seen_equally_often(steps: LayoutSteps) -> None:
    seen = [steps._order(place // 5)[place % 5] for place in range(20)]
    assert sorted(seen) == sorted(list(range(5)) * 4)


def test_pages_without_annotated_regions_are_skipped_and_empty_ones_are_not(tmp_path: Path) -> None:
    steps = LayoutSteps(dataset(tmp_path, [page(0), page(1, None), page(2, ())]), None, config(), 1)
    assert steps.pages == [0, 2]
    labels = torch.cat([batch["labels"].flatten() for batch in steps.validation()])
    assert (labels >= 0).sum() == 2


def test_a_dataset_without_any_regions_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="annotated"):
        LayoutSteps(dataset(tmp_path, [page(0, None)]), None, config(), 1)


def test_a_few_steps_lower_the_loss_on_a_batch(steps: LayoutSteps) -> None:
    system = LayoutSystem(fresh_network(config(denoising=0), 0)).train()
    optimizer = torch.optim.AdamW(system.network.parameters(), lr=2e-3)
    batch, losses = steps[0], []
    for _ in range(24):
        loss = system.loss(batch)["total"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    # Twice as many steps as it takes: early ones are bumpy, and threads add up in another order.
    assert losses[-1] < 0.9 * losses[0]


def test_validation_reports_ap_between_zero_and_one(steps: LayoutSteps) -> None:
    system = LayoutSystem(fresh_network(config(), 0)).eval()
    with torch.no_grad():
        figures = system.validate(steps.validation())
    assert set(figures) == {"ap", "ap50"}
    assert all(0 <= value <= 1 for value in figures.values())


@pytest.fixture(scope="module")
def teacher():
    return fresh_network(config(), 11)


def distilled(teacher, steps: LayoutSteps, **changes) -> tuple[DistillationSystem, dict[str, torch.Tensor]]:
    system = DistillationSystem(fresh_network(config(), 5), teacher, DistillConfig(**changes)).train()
    system.progress = 0.4
    torch.manual_seed(0)
    return system, system.loss(steps[4])


def test_the_loss_is_alpha_of_the_teacher_and_beta_of_the_truth(teacher, steps: LayoutSteps) -> None:
    _, whole = distilled(teacher, steps, alpha=2.0, beta=0.5)
    _, truth = distilled(teacher, steps, alpha=0.0, beta=1.0)
    _, taught = distilled(teacher, steps, alpha=1.0, beta=0.0)
    assert {"kd_tokens", "kd_queries", "kd_features"} <= set(whole)
    assert not any(name.startswith("kd") for name in truth)
    expected = 0.5 * truth["total"] + 2.0 * taught["total"]
    assert whole["total"].item() == pytest.approx(expected.item(), rel=1e-4)


def test_distillation_begins_where_it_is_told_to(teacher, steps: LayoutSteps) -> None:
    _, before = distilled(teacher, steps, start=0.5)
    _, after = distilled(teacher, steps, start=0.4)
    assert "kd_tokens" not in before
    assert "kd_tokens" in after


def test_the_teacher_is_neither_trained_nor_saved(teacher, steps: LayoutSteps) -> None:
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    system, losses = distilled(teacher, steps)
    losses["total"].backward()
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())
    assert len(list(system.parameters())) == len(list(system.network.parameters()))


def test_a_student_equal_to_its_teacher_has_nothing_to_learn_from_it(teacher, steps: LayoutSteps) -> None:
    system = DistillationSystem(fresh_network(config(), 5), teacher, DistillConfig()).eval()
    system.network.load_state_dict(teacher.state_dict())
    image = steps[0]["image"]
    with torch.no_grad():
        parts = system.distillation(system.network(image), image)
    assert all(abs(value.item()) < 1e-3 for value in parts.values()), parts


def test_a_teacher_on_its_own_queries_says_what_it_said(teacher, steps: LayoutSteps) -> None:
    teacher.eval()
    with torch.no_grad():
        found = teacher(steps[0]["image"])
        again = teacher.decode_like(found.features, found.tokens, found.proposal_boxes)
    assert torch.allclose(again.boxes[-1], found.queries.boxes[-1], atol=1e-3)


def test_soft_classes_pull_towards_the_teacher() -> None:
    teacher = torch.tensor([[3.0, -3.0]])
    student = torch.zeros(1, 2, requires_grad=True)
    soft_classes(student, teacher, 2.0).backward()
    assert student.grad is not None
    assert student.grad[0, 0] < 0 < student.grad[0, 1]
    assert soft_classes(teacher, teacher, 2.0).item() == 0


def test_unsure_boxes_of_the_teacher_count_for_nothing() -> None:
    ours = torch.tensor([[[0.5, 0.5, 0.2, 0.2], [0.1, 0.1, 0.1, 0.1]]])
    theirs = torch.tensor([[[0.5, 0.5, 0.2, 0.2], [0.9, 0.9, 0.1, 0.1]]])
    assert boxes_like(ours, theirs, torch.tensor([[1.0, 0.0]])).item() == pytest.approx(0, abs=1e-5)
    assert boxes_like(ours, theirs, torch.tensor([[1.0, 1.0]])).item() > 1


def test_a_student_of_one_layer_less_starts_as_the_teacher_cut_short(teacher) -> None:
    student = fresh_network(config(decoder_layers=1), 5)
    assert inherit(student, teacher) == len(student.state_dict())
    for name, value in student.state_dict().items():
        assert torch.equal(value, teacher.state_dict()[name])


def test_another_backbone_is_not_inherited_in_pieces(teacher) -> None:
    student = fresh_network(config(backbone="convnext_zepto_rms"), 5)
    before = {name: value.clone() for name, value in student.state_dict().items()}
    assert inherit(student, teacher) > 100
    for name, value in student.state_dict().items():
        if "backbone" in name.split("."):
            assert torch.equal(value, before[name])
    assert torch.equal(student.model.enc_score_head.weight, teacher.model.enc_score_head.weight)


def test_teacher_and_student_train_save_and_open(tmp_path: Path) -> None:
    data = dataset(tmp_path / "data", [page(i) for i in range(3)])
    params = Params.model_validate({"seed": 1, "teacher": TINY, "student": TINY})
    places = {"metrics": tmp_path / "metrics", "workers": 0}
    train_teacher(params, data, None, tmp_path / "teacher", state=tmp_path / "s1", **places)
    network = fresh_network(params.teacher, 1)
    train_student(params, network, data, None, tmp_path / "student", state=tmp_path / "s2", **places)
    for name in ("teacher", "student"):
        predictor = open_predictor(tmp_path / name)
        assert (predictor.card["name"], predictor.card["data"]) == (name, "d")
        result = predictor.read(page(9).pixels())
        assert (result.width, result.height, result.words) == (128, 192, ())
        figures = json.loads((tmp_path / "metrics" / f"{name}.json").read_text())
        assert {"ap", "ap50", "best_step", "parameters"} <= set(figures)


def test_teacher_and_student_must_share_a_canvas(tmp_path: Path) -> None:
    params = Params.model_validate({"student": TINY | {"long_edge": 128}})
    with pytest.raises(UsageError, match="share a canvas"):
        train_student(
            params,
            fresh_network(config(), 1),
            tmp_path,
            None,
            tmp_path / "out",
            metrics=tmp_path,
            state=tmp_path / "state",
        )
