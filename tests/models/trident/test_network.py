import pytest
import torch

from ml.config import TridentConfig
from ml.errors import UsageError
from ml.models.trident.graph import WORDS, graph_for
from ml.models.trident.network import Trident

TINY = {"backbone": "resnet10t", "channels": 32, "reader_width": 32, "decoder_width": 32, "layout_stride": 16}


@pytest.fixture(scope="module", params=[0.0, 2.0], ids=["one width", "narrow words apart"])
def network(request):
    torch.manual_seed(0)
    return Trident(TridentConfig(**TINY, narrow=request.param)).eval()


def test_levels_and_heads_have_the_strides_they_promise(network):
    features = network(torch.randint(0, 256, (2, 128, 96, 3), dtype=torch.uint8))
    assert features.level.shape == (2, 32, 32, 24)
    assert [tuple(o.shape) for o in features.words] == [(2, c, 32, 24) for c in (1, 4, 1)]
    assert [tuple(o.shape) for o in features.regions] == [(2, c, 8, 6) for c in (5, 4, 1)]


def test_paper_profile_has_about_thirty_million_parameters():
    config = TridentConfig(
        backbone="resnet50",
        channels=256,
        word_stride=8,
        layout_stride=32,
        decoder_width=256,
        decoder_layers=4,
    )
    counts = Trident(config).parameter_counts()
    assert 28e6 < sum(counts.values()) < 35e6
    assert 23e6 < counts["backbone"] < 24e6


def test_a_page_reads_the_same_alone_and_in_a_batch(network):
    torch.manual_seed(1)
    pages = torch.randint(0, 256, (3, 256, 256, 3), dtype=torch.uint8)
    boxes = torch.tensor([[[10.0, 10, 60, 22], [7, 9, 19, 21], [30, 40, 90, 55]]]).expand(3, -1, -1)
    graph = graph_for(network)
    with torch.inference_mode():
        batch, alone = graph(pages, boxes), graph(pages[1:2], boxes[1:2])
    for name, many, one in zip(graph.output_names, batch, alone, strict=True):
        assert torch.allclose(many[1].float(), one[0].float(), atol=1e-3), name


def test_an_empty_page_gives_empty_slots_and_no_failure(network):
    graph = graph_for(network)
    with torch.inference_mode():
        outputs = dict(
            zip(
                graph.output_names,
                graph(torch.full((1, 256, 256, 3), 255, dtype=torch.uint8), torch.zeros(1, 1, 4)),
                strict=True,
            )
        )
    assert outputs["word_boxes"].shape == (1, WORDS, 4)
    assert (outputs["word_scores"] == 0).all()


def test_a_narrow_word_is_read_in_half_the_columns_of_a_wide_one():
    network = Trident(TridentConfig(**TINY, narrow=2.0)).eval()
    features = network(torch.randint(0, 256, (1, 128, 128, 3), dtype=torch.uint8))
    views, page = (
        torch.tensor([[0.0, 0, 20, 10], [0, 0, 21, 10], [8, 8, 12, 20]]),
        torch.zeros(3, dtype=torch.long),
    )
    shapes = {
        columns: (these.tolist(), network.read(features, views[these], page[these], columns).shape[1])
        for columns, these in network.columns_for(views)
    }
    assert shapes == {16: ([True, False, True], 16), 32: ([False, True, False], 32)}
    everything = Trident(TridentConfig(**TINY)).columns_for(views)
    assert [(columns, these.tolist()) for columns, these in everything] == [(32, [True] * 3)]


def test_an_unknown_backbone_is_refused_with_near_names():
    with pytest.raises(UsageError, match="resnet"):
        Trident(TridentConfig(backbone="resnet18_typo"))


def test_a_missing_weights_file_is_named():
    with pytest.raises(UsageError, match=r"nowhere\.safetensors"):
        Trident(TridentConfig(**TINY, weights="nowhere.safetensors"))
