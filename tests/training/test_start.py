import pytest
import torch

from ml.config import TridentConfig
from ml.errors import UsageError
from ml.models.trident.network import Trident
from ml.training.checkpoint import load, read, save
from ml.training.start import start_from
from ml.training.trident import card
from tests.training.test_trident import TINY


def network(seed, **more):
    torch.manual_seed(seed)
    return Trident(TridentConfig.model_validate({k: v for k, v in TINY.items() if k != "training"} | more))


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    folder = tmp_path_factory.mktemp("start") / "given"
    net = network(0)
    save(folder, net, card(net, "data", {}), half=True)
    return folder, net


def test_the_same_network_starts_with_every_weight(given):
    folder, net = given
    own = network(1)
    said = start_from(own, folder)
    assert "fresh" not in said
    for name, value in net.state_dict().items():
        assert torch.allclose(own.state_dict()[name].float(), value.float(), atol=1e-3, rtol=1e-3), name
    assert all(
        value.dtype == torch.float16 for value in read(folder)[1].values() if value.is_floating_point()
    )
    assert torch.isfinite(load(folder)[0](torch.zeros(1, 128, 128, 3, dtype=torch.uint8)).level).all()


def test_a_network_that_is_given_detail_reads_as_before_and_then_learns_from_it(given):
    folder, _ = given
    own = network(1, detail=8)
    assert "fresh: detail" in start_from(own, folder)
    pages = torch.randint(0, 256, (1, 128, 128, 3), dtype=torch.uint8)
    views, page = torch.tensor([[8.0, 8, 90, 30]]), torch.tensor([0])
    own.eval()
    alike = load(folder)[0].eval()
    torch.testing.assert_close(
        own.rois(own(pages), views, page, 32), alike.rois(alike(pages), views, page, 32), atol=1e-4, rtol=1e-4
    )
    own.rois(own(pages), views, page, 32).square().sum().backward()
    assert own.detail is not None
    assert own.detail.join.weight.grad.abs().max() > 0


def test_another_charset_keeps_the_rows_of_shared_characters(given):
    folder, net = given
    own = network(1, charset="german")
    fresh = own.reader.symbols.weight.detach().clone()
    start_from(own, folder)
    for char in "aZ9€":
        ours, theirs = own.charset.encode(char)[0], net.charset.encode(char)[0]
        for part in (own.reader.symbols.weight, own.decoder.embed.weight):
            other = net.reader.symbols if part is own.reader.symbols.weight else net.decoder.embed
            assert torch.allclose(part[ours], other.weight[theirs], atol=1e-3)
    new = own.charset.encode("ß")[0]
    assert torch.equal(own.reader.symbols.weight[new], fresh[new])


def test_parts_of_another_shape_stay_fresh_and_are_named(given):
    own = network(1, reader_width=64)
    assert start_from(own, given[0]).endswith("fresh: reader")


def test_no_checkpoint_is_said(tmp_path):
    with pytest.raises(UsageError, match="no checkpoint"):
        start_from(network(0), tmp_path / "nowhere")
