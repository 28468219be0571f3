import io
from copy import deepcopy

import numpy as np
import pytest
import torch
from PIL import Image

from ml.config import Params
from ml.models.charset import EOS, PAD
from ml.models.trident.network import Trident
from ml.pages import Page, Region, Word, page_id
from ml.pages.store import PageWriter
from ml.training.trident import DARK, TridentSteps, TridentSystem, View, _few_of, make, said

TINY = {
    "backbone": "resnet10t",
    "channels": 32,
    "layout_stride": 16,
    "roi": [4, 32],
    "reader_width": 32,
    "decoder_width": 32,
    "long_edge": 256,
    "training": {"batch": 2, "steps": 2},
}


def page(number, width=256, height=192, gaps=(), **truth):
    pixels = np.full((height, width, 3), 255, np.uint8)
    pixels[20:30, 20 + number : 60] = 0
    for begin, end in gaps:
        pixels[20:30, begin:end] = 255
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    known = {
        "words": (Word((20, 20, 60, 30), "Total"), Word((80, 20, 120, 30), "")),
        "regions": (Region((10, 10, 200, 40), "Text"), Region((10, 170, 60, 180), "Page-footer")),
    }
    return Page(
        page_id(file.getvalue()),
        f"d{number}",
        width,
        height,
        file.getvalue(),
        **(known | truth),
        provenance="human",
    )


def dataset(folder, pages):
    for split in ("train", "val"):
        with PageWriter(folder / split) as writer:
            for item in pages:
                writer.write(item)
    return folder


def params(**trident):
    return Params.model_validate({"seed": 1, "trident": TINY | trident})


def test_targets_hold_the_words_with_text_and_the_regions_with_a_class(tmp_path):
    steps = TridentSteps(dataset(tmp_path, [page(0), page(1)]), None, params().trident, 1)
    batch = next(iter(steps.validation()))
    assert batch["image"].shape == (2, 256, 256, 3)
    assert batch["word_boxes"][0].tolist() == [[20, 20, 60, 30]]
    ids = batch["word_text"][0, 0].tolist()
    assert steps.charset.decode(ids) == "Total"
    assert ids[5] == EOS
    assert set(ids[6:]) == {PAD}
    assert batch["region_boxes"].shape == (2, 1, 4)  # a running foot is none of Trident's classes
    # At stride 4, 10 columns of locations lie in x 20..60 and, of rows at 22, 26 and 30, two lie in y 20..30.
    assert (batch["word_owner"][0] == 0).sum() == 10 * 2


def test_a_batch_is_a_function_of_the_seed_and_the_step(tmp_path):
    data = dataset(tmp_path, [page(i) for i in range(5)])
    one, two = (TridentSteps(data, None, params().trident, 1) for _ in range(2))
    one[0], one[1]
    for key, value in two[3].items():
        assert torch.equal(one[3][key], value), key
    assert not torch.equal(one[3]["image"], TridentSteps(data, None, params().trident, 2)[3]["image"])


def test_an_epoch_shows_every_page(tmp_path):
    data = dataset(tmp_path, [page(i) for i in range(4)] + [page(i, 192, 256) for i in range(3)])
    steps = TridentSteps(data, None, params(long_edge=512).trident, 1)
    shown = [i for batch in steps._epoch_batches(0) for i in batch]
    assert set(shown) == set(range(7))
    assert len(shown) == 8
    for batch in steps._epoch_batches(1):
        assert len({steps.train.entries[i].width for i in batch}) == 1


def test_a_crop_shows_a_square_of_the_scaled_page_and_its_words_in_place(tmp_path):
    data = dataset(tmp_path, [page(i, 200, 160) for i in range(3)])
    steps = TridentSteps(
        data, None, params(long_edge=200, crop=128, zoom=[0.5, 2.0], erasing=0, negative=0).trident, 1
    )
    seen, sizes = 0, set()
    for number in range(40):
        batch = steps[number]
        assert batch["image"].shape == (2, 128, 128, 3)
        for image, boxes, text in zip(batch["image"], batch["word_boxes"], batch["word_text"], strict=True):
            dark = (image[..., 0] < 128).nonzero()
            whole = steps.charset.decode(text[0].tolist()) == "Total"
            if not whole:
                continue
            seen += 1
            _, y1, x2, y2 = boxes[0].tolist()
            sizes.add(round(y2 - y1))
            assert abs(dark[:, 0].min() - y1) <= 1.5
            assert abs(dark[:, 0].max() + 1 - y2) <= 1.5
            assert abs(dark[:, 1].max() + 1 - x2) <= 1.5
    assert seen > 3
    assert len(sizes) > 3


def test_crops_show_letters_at_the_size_at_which_they_are_read(tmp_path):
    """Whatever the pages' resolution: their words come out between the ends of `zoom`, around `text_px`."""
    heights = set()
    for size in (200, 400):
        data = dataset(tmp_path / str(size), [page(i, size, size) for i in range(3)])
        config = params(long_edge=200, crop=128, text_px=20, zoom=[0.5, 1.1], erasing=0).trident
        steps = TridentSteps(data, None, config, 1)
        for batch in (steps[number] for number in range(20)):
            boxes = batch["word_boxes"][batch["word_text"][..., 0] != 0]
            heights |= {round(float(y2 - y1)) for _, y1, _, y2 in boxes}
    assert heights
    assert min(heights) >= 9
    assert max(heights) <= 23


def test_pages_are_shown_in_negative_too_and_held_out_pages_never(tmp_path):
    data = dataset(tmp_path, [page(0), page(1)])
    never, always = (
        TridentSteps(data, None, params(erasing=0, negative=share).trident, 1) for share in (0, 1)
    )
    assert torch.equal(always[0]["image"], 255 - never[0]["image"])
    held_out = [next(iter(steps.validation()))["image"] for steps in (never, always)]
    assert torch.equal(*held_out)


def test_pages_are_shown_in_little_light_too_and_held_out_pages_never(tmp_path):
    data = dataset(tmp_path, [page(0), page(1)])
    never, always = (
        TridentSteps(data, None, params(erasing=0, negative=0, dark=share).trident, 1) for share in (0, 1)
    )
    light, dark = (steps[0]["image"][0].float() for steps in (never, always))
    left = dark.max() / light.max()
    assert DARK[0] - 0.01 <= left <= DARK[1] + 0.01
    torch.testing.assert_close(dark, light * left, atol=1.0, rtol=0)
    held_out = [next(iter(steps.validation()))["image"] for steps in (never, always)]
    assert torch.equal(*held_out)


def test_in_clogged_pages_narrow_openings_are_filled_and_wide_ones_and_held_out_pages_are_not(tmp_path):
    data = dataset(tmp_path, [page(number, gaps=[(30, 31), (40, 46)]) for number in (0, 1)])
    never, always = (
        TridentSteps(data, None, params(erasing=0, negative=0, clogged=share).trident, 1) for share in (0, 1)
    )
    clean, clogged = (steps[0]["image"][0, 25, :, 0].int() for steps in (never, always))
    assert torch.equal((clean - clogged > 64).nonzero().flatten(), torch.tensor([30]))
    held_out = [next(iter(steps.validation()))["image"] for steps in (never, always)]
    assert torch.equal(*held_out)


def test_of_a_word_cut_by_the_edge_only_the_place_is_learned():
    view = View(2.0, x=10, y=0, height=64, width=64)
    boxes, whole, numbers = view.boxes(
        [(5, 4, 15, 8), (20, 4, 30, 8), (50, 4, 60, 8), (2, 4, 11, 8)], least=4
    )
    assert boxes.tolist() == [[0, 8, 10, 16], [20, 8, 40, 16]]
    assert whole.tolist() == [False, True]
    assert numbers.tolist() == [0, 1]


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    return make(params(), dataset(tmp_path_factory.mktemp("data"), [page(0), page(1)]), None)


def test_every_part_of_the_network_learns_from_a_full_batch(system):
    net, steps = system
    net.train()
    net.loss(steps[0])["total"].backward()
    for name, part in net.network.named_children():
        assert any(p.grad is not None and p.grad.any() for p in part.parameters()), name
    net.zero_grad()


def test_small_words_and_regions_have_more_to_say_where_boxes_are_even(tmp_path):
    words = (Word((20, 20, 60, 30), "Total"), Word((80, 20, 84, 30), "1"))
    regions = (Region((10, 10, 200, 40), "Text"), Region((10, 60, 40, 90), "Text"))
    data = dataset(tmp_path, [page(0, words=words, regions=regions)])
    losses = []
    for even in (True, False):
        net, steps = make(params(even_boxes=even), data, None)
        losses.append(net.eval().loss(steps[0]))
    assert all(losses[0][part] != losses[1][part] for part in ("detection", "layout"))
    assert all(losses[0][part] == losses[1][part] for part in ("ctc", "decoder"))


def test_layout_weight_zero_sends_no_gradient_into_the_layout_head(system):
    net, steps = system
    silent = TridentSystem(net.network, layout_known=False)
    silent.loss(steps[0])["total"].backward()
    assert all(p.grad is None or not p.grad.any() for p in net.network.layout.parameters())
    net.zero_grad()


def test_layout_weight_returns_by_itself_when_regions_are_annotated(tmp_path):
    without = make(params(), dataset(tmp_path / "a", [page(0, regions=None), page(1, regions=None)]), None)[0]
    with_one = make(params(), dataset(tmp_path / "b", [page(0), page(1, regions=None)]), None)[0]
    assert without.layout_weight == 0
    assert with_one.layout_weight == 1


def test_pages_without_annotation_do_not_change_the_losses(tmp_path):
    net, steps = make(params(), dataset(tmp_path, [page(0), page(1, words=None, regions=None)]), None)
    net.eval()
    batch = next(iter(steps.validation()))
    alone = {key: value[:1] for key, value in batch.items()}
    both, one = net.loss(batch), net.loss(alone)
    for name, value in one.items():
        assert both[name].item() == pytest.approx(value.item(), rel=1e-3), name


def test_words_of_both_widths_are_read_in_their_order_and_a_narrow_one_is_blank_beyond_its_columns():
    network = Trident(params(narrow=2.0).trident).eval()
    features = network(torch.randint(0, 256, (2, 128, 128, 3), dtype=torch.uint8))
    views = torch.tensor([[0.0, 0, 60, 12], [5, 5, 15, 15], [30, 40, 100, 55], [60, 60, 80, 75]])
    page = torch.tensor([0, 1, 1, 0])
    logits = said(network, features, views, page)
    for i, columns in enumerate((32, 16, 32, 16)):
        alone = network.read(features, views[i : i + 1], page[i : i + 1], columns)[0]
        torch.testing.assert_close(logits[i, :columns], alone, atol=1e-4, rtol=1e-3)
        assert (logits[i, columns:].softmax(-1)[:, PAD] > 0.999).all()


def test_shapes_stay_few_with_words_of_both_widths():
    narrow = torch.arange(171) % 3 == 0  # 57 narrow ones, 114 wide ones
    kept = _few_of(narrow)
    assert (narrow[kept].sum(), (~narrow[kept]).sum()) == (32, 96)
    assert kept.tolist() == sorted(set(kept.tolist()))


def test_a_step_tells_how_many_words_it_holds(system):
    assert int(system[1][0]["words"]) == 2  # one with a text on each of two pages


def test_pictures_show_held_out_pages_with_what_is_found(system):
    net, steps = system
    blank = net.pictures()
    eager = TridentSystem(deepcopy(net.network), True, net.shown)
    for convolution in (eager.network.words.classes, eager.network.words.centerness):
        torch.nn.init.constant_(convolution.bias, 5)
    drawn = eager.pictures()
    assert list(drawn) == ["page 1", "page 2"]
    canvas = next(iter(steps.validation()))["image"].numpy()
    for number, name in enumerate(drawn):
        assert np.array_equal(blank[name], canvas[number])  # an untrained network finds nothing
        assert drawn[name].dtype == np.uint8
        assert (drawn[name] != canvas[number]).any()
