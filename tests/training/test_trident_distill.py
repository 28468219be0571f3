import json
from copy import deepcopy

import pytest
import torch
import yaml

from ml.cli import main
from ml.config import TridentDistillConfig
from ml.errors import UsageError
from ml.models.trident.network import Trident
from ml.predictor import open_predictor
from ml.training.checkpoint import load, save
from ml.training.soft_targets import soft_binary, soft_choice
from ml.training.trident import TridentSystem, card, make
from ml.training.trident_distill import TridentDistillation, dense_like
from tests.training.test_trident import dataset, page, params

KD = {"kd_features", "kd_words", "kd_regions", "kd_ctc", "kd_decoder"}
#: Without dropout, two passes over a batch say the same.
SMALL = {"dropout": 0.0, "flat_start": 0.0}


def teacher(**changes) -> Trident:
    torch.manual_seed(9)
    return Trident(params(**(SMALL | {"channels": 48} | changes)).trident)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make(params(**SMALL), dataset(tmp_path_factory.mktemp("data"), [page(0), page(1)]), None)


def distilled(made, teacher, **changes) -> TridentDistillation:
    network = deepcopy(made[0].network)
    return TridentDistillation(network, teacher, TridentDistillConfig(**changes), layout_known=True).train()


def taught(system, batch):
    return system.distillation(*system.look(batch), batch["image"])


def test_a_student_equal_to_its_teacher_has_nothing_to_learn_from_it(made):
    system = distilled(made, deepcopy(made[0].network)).eval()
    with torch.no_grad():
        parts = taught(system, made[1][0])
    assert set(parts) == KD
    assert all(abs(value.item()) < 1e-4 for value in parts.values()), parts


def test_every_part_of_a_narrower_student_learns_from_the_teacher_alone(made):
    system = distilled(made, teacher(), beta=0.0)
    system.loss(made[1][0])["total"].backward()
    for name, part in system.network.named_children():
        assert any(p.grad is not None and p.grad.any() for p in part.parameters()), name
    assert {"backbone", "words", "layout", "reader", "decoder", "projections"} <= {
        name for name, _ in system.network.named_children()
    }


def test_what_is_read_is_taught_as_it_is_and_only_classes_are_softened(made):
    sharp, soft = (distilled(made, teacher(), temperature=t).eval() for t in (1.0, 4.0))
    soft.network.load_state_dict(sharp.network.state_dict())
    with torch.no_grad():
        one, other = (taught(system, made[1][0]) for system in (sharp, soft))
    assert one["kd_ctc"] == other["kd_ctc"] and one["kd_decoder"] == other["kd_decoder"]
    assert one["kd_words"] != other["kd_words"]


def test_each_part_of_the_loss_reaches_its_head(made):
    system = distilled(made, teacher())
    heads = {
        "kd_words": "words",
        "kd_regions": "layout",
        "kd_ctc": "reader",
        "kd_decoder": "decoder",
        "kd_features": "projections",
    }
    parts = taught(system, made[1][0])
    for part, head in heads.items():
        weights = list(system.network.get_submodule(head).parameters())
        grads = torch.autograd.grad(parts[part], weights, retain_graph=True, allow_unused=True)
        assert any(grad is not None and grad.any() for grad in grads), part


def test_the_teacher_is_neither_trained_nor_changed_nor_part_of_the_student(made):
    large = teacher(norm="batch")  # in training mode, batch statistics would move
    before = {name: value.clone() for name, value in large.state_dict().items()}
    system = distilled(made, large)
    optimizer = torch.optim.SGD(system.parameters(), lr=0.1)
    system.loss(made[1][0])["total"].backward()
    optimizer.step()
    assert not large.training
    assert all(parameter.grad is None for parameter in large.parameters())
    assert all(torch.equal(before[name], value) for name, value in large.state_dict().items())
    assert len(list(system.parameters())) == len(list(system.network.parameters()))


def test_a_released_student_is_a_trident_like_any_other(made):
    student = distilled(made, teacher()).release()
    assert list(student.state_dict()) == list(made[0].network.state_dict())


def test_the_loss_is_alpha_of_the_teacher_and_beta_of_the_truth(made):
    system = distilled(made, teacher())

    def total(**changes):
        system.config = TridentDistillConfig(**changes)
        torch.manual_seed(0)  # the boxes' jitter
        return system.loss(made[1][0])["total"].item()

    alone = TridentSystem(system.network, layout_known=True).train()
    torch.manual_seed(0)
    truth = alone.loss(made[1][0])["total"].item()
    assert total(alpha=0.0) == pytest.approx(truth, rel=1e-5)
    expected = 0.5 * truth + 2 * total(beta=0.0)
    assert total(alpha=2.0, beta=0.5) == pytest.approx(expected, rel=1e-4)


def test_distillation_begins_where_it_is_told_to(made):
    system = distilled(made, teacher(), start=0.5)
    system.progress = 0.4
    assert not KD & set(system.loss(made[1][0]))
    system.progress = 0.5
    assert set(system.loss(made[1][0])) >= KD


def test_a_new_backbone_first_learns_alone_to_give_what_the_teachers_gives(tmp_path):
    """Under heads that exist: they are asked of nothing and keep what they know, until the share is over."""
    steps = make(params(**SMALL), dataset(tmp_path, [page(0), page(1)]), None)
    system = distilled(steps, teacher(channels=32), imitate=0.5)
    assert set(system.loss(steps[1][0])) == {"total", "kd_level", "kd_layout"}
    system = distilled(
        make(params(**SMALL, detail=8), tmp_path, None), teacher(channels=32, detail=8), imitate=0.5
    )
    parts = system.loss(steps[1][0])
    assert parts["total"].item() == pytest.approx(
        sum(parts[k].item() for k in ("kd_level", "kd_layout", "kd_detail"))
    )
    parts["total"].backward()
    learned = {
        name
        for name, part in system.network.named_children()
        if any(p.grad is not None for p in part.parameters())
    }
    assert learned == {"backbone", "neck", "detail"}
    system.progress = 0.5
    assert set(system.loss(steps[1][0])) >= KD


def test_what_imitates_fully_is_no_distance_away_and_blank_maps_a_variance_and_more(made):
    large = deepcopy(made[0].network).eval()
    system = distilled(made, deepcopy(large), imitate=1.0).eval()
    with torch.no_grad():
        assert system.imitation(made[1][0]["image"])["total"].item() == 0
        known, _, _ = large.maps(made[1][0]["image"])
        for part in system.network.neck.smooth:
            for weight in part.parameters():
                weight.zero_()
        level = system.imitation(made[1][0]["image"])["kd_level"].item()
    assert level == pytest.approx(((known**2).mean() / known.var()).item(), rel=1e-4)


def test_pages_without_annotated_words_are_taught_all_but_their_reading(tmp_path):
    bare = make(params(**SMALL), dataset(tmp_path, [page(0, words=None, regions=None)]), None)
    parts = taught(distilled(bare, teacher()), bare[1][0])
    assert parts["kd_ctc"] == parts["kd_decoder"] == 0
    assert all(parts[name] > 0 for name in ("kd_words", "kd_regions", "kd_features"))


def test_a_teacher_without_a_decoder_teaches_the_parallel_head_alone(made):
    parts = taught(distilled(made, teacher(decoder_layers=0)), made[1][0])
    assert parts["kd_decoder"] == 0
    assert parts["kd_ctc"] > 0


def test_a_few_steps_bring_the_student_nearer_to_its_teacher(made):
    system = distilled(made, teacher(), beta=0.0)
    optimizer = torch.optim.AdamW(system.network.parameters(), lr=2e-3)
    losses = []
    for _ in range(8):
        loss = system.loss(made[1][0])["total"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.75 * losses[0]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"layout_stride": 32}, r"strides: \(4, 16\) and \(4, 32\)"),
        ({"word_stride": 8}, r"strides: \(4, 16\) and \(8, 16\)"),
        ({"roi": [4, 16]}, "columns: 32 and 16"),
        ({"narrow": 2.0}, "narrow words: 0.0 and 2.0"),
        ({"length": 24}, "length: 32 and 24"),
        ({"charset": "latin"}, "charset: 'english' .* 'latin'"),
    ],
)
def test_what_cannot_be_compared_is_refused(made, changes, told):
    with pytest.raises(UsageError, match=told):
        distilled(made, teacher(**changes))


def test_to_imitate_a_student_must_be_as_wide(made):
    with pytest.raises(UsageError, match=r"widths: \(32, 0\) and \(48, 0\)"):
        distilled(made, teacher(), imitate=0.1)


def test_dense_answers_pull_towards_the_teacher_where_it_is_sure():
    def outputs(score, side, center):
        return (
            torch.tensor([[[[score, -9.0]]]]),
            torch.full((1, 4, 1, 2), side),
            torch.full((1, 1, 1, 2), center),
        )

    theirs = outputs(4.0, 8.0, 2.0)
    assert dense_like(theirs, theirs, 4, 2.0).item() == pytest.approx(0, abs=1e-6)
    ours = [x.requires_grad_() for x in outputs(0.0, 6.0, 0.0)]
    dense_like(tuple(ours), theirs, 4, 2.0).backward()
    scores, sides, centers = (x.grad[0] for x in ours)
    assert scores[0, 0, 0] < 0
    assert (sides[:, 0, 0] < -0.01).all() and (centers[:, 0, 0] < -0.01).all()
    assert sides[:, 0, 1].abs().max() < 1e-3 and centers[:, 0, 1].abs().max() < 1e-3


def test_soft_targets_by_hand():
    half, sure = torch.zeros(1), torch.full((1,), 100.0)
    assert soft_binary(half, sure).item() == pytest.approx(0.693147, abs=1e-5)
    # KL of (1/2, 1/2) from (3/4, 1/4): 0.75 ln 1.5 + 0.25 ln 0.5; at temperature 2, logits twice as far say the same.
    ours, theirs = torch.zeros(1, 2), torch.tensor([[3.0, 1.0]]).log()
    assert soft_choice(ours, theirs, 1.0).item() == pytest.approx(0.130812, abs=1e-5)
    assert soft_choice(ours, 2 * theirs, 2.0).item() == pytest.approx(4 * 0.130812, abs=1e-5)


def test_soft_targets_stay_in_reach_of_autocast(made):
    system = distilled(made, teacher())
    with torch.autocast("cpu", torch.bfloat16):
        total = system.loss(made[1][0])["total"]
    assert total.dtype == torch.float32
    assert total.isfinite()


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with a dataset, parameters, and a Trident in models/large."""
    monkeypatch.chdir(tmp_path)
    folder = dataset(tmp_path / "data", [page(0), page(1)])
    (folder / "manifest.json").write_text(json.dumps({"digest": "d"}))
    values = params(**SMALL).model_dump(mode="json")
    values["trident"]["training"] |= {"steps": 2, "evaluate_every": 1}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    large = teacher()
    save(tmp_path / "models/large", large, card(large, "d", {}))
    return tmp_path


def test_the_command_makes_a_student_that_opens_and_reads(project, capsys):
    command = ["distill", "trident", "--teacher", "models/large", "--data", "data", "--workers", "0"]
    assert main([*command, "--out", "models/trident_student"]) == 0
    assert "taught by" in capsys.readouterr().out
    student, student_card = load(project / "models/trident_student")
    assert student.config.channels == 32
    assert "distill" not in student_card["config"]
    assert open_predictor(project / "models/trident_student").read(page(0).pixels()).width == 256
    figures = json.loads((project / "metrics/trident_student.json").read_text())
    assert {"reading", "best_step", "parameters"} <= set(figures)
    table = (project / "metrics/trident_student.csv").read_text()
    assert set(table.splitlines()[0].split(",")) >= KD
    assert not list((project / ".scriptorium/training").glob("trident_student*"))


def test_the_command_puts_a_new_backbone_under_the_teachers_heads(project, capsys):
    values = yaml.safe_load((project / "params.yaml").read_text())
    values["trident"] |= {"channels": 48, "backbone": "resnet18"}
    values["trident"]["distill"] |= {"imitate": 1.0}
    (project / "params.yaml").write_text(yaml.safe_dump(values))
    command = ["distill", "trident", "--teacher", "models/large", "--data", "data", "--workers", "0"]
    assert main([*command, "--out", "models/trident"]) == 0
    assert "from models/large" in capsys.readouterr().out
    (student, _), (large, _) = load(project / "models/trident"), load(project / "models/large")
    assert student.config.backbone == "resnet18"
    kept = large.state_dict()
    for name, value in student.state_dict().items():
        if name.split(".")[0] in ("words", "layout", "reader", "decoder"):
            assert torch.equal(value, kept[name]), name
    changed = [
        name
        for name, value in student.neck.state_dict().items()
        if not torch.equal(value, kept[f"neck.{name}"])
    ]
    assert changed


def test_a_student_never_replaces_its_teacher(project, capsys):
    command = ["distill", "trident", "--teacher", "models/large", "--data", "data"]
    assert main([*command, "--out", "models/large"]) == 2
    assert "replace its teacher" in capsys.readouterr().err


def test_a_trident_teaches_no_layout_student(project, capsys):
    assert main(["distill", "student", "--teacher", "models/large", "--data", "data"]) == 2
    assert "a trident cannot teach a student" in capsys.readouterr().err
