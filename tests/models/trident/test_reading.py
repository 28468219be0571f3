import math
import unicodedata

import numpy as np
import pytest
import torch
from torchvision.ops import roi_align

from ml.errors import UsageError
from ml.models.charset import EOS, MARKERS, NAMED, PAD, SOS, Charset, named
from ml.models.trident.reading import (
    WINDOW_ASPECT,
    WINDOWS,
    Decoder,
    EncoderLayer,
    columns_kept,
    ctc_loss,
    decoder_loss,
    flat_start,
    letter_widths,
    path_length,
    widened,
    windows,
    word_features,
)


@pytest.fixture
def decoder():
    torch.manual_seed(0)
    return Decoder(8, (2, 4), 32, 2, 12, 10, 0.0).eval()


def test_text_survives_coding_and_decoding():
    charset = named("english")
    text = "Total: 1,234.50 £"
    assert charset.decode([*charset.encode(text.replace(" ", "")), EOS, 9, 9]) == text.replace(" ", "")


def test_a_character_outside_the_charset_is_unknown_and_is_named():
    charset = Charset("abc")
    assert charset.decode(charset.encode("axb")) == "a\ufffdb"
    assert charset.outside("axby") == {"x", "y"}


def test_charsets_have_names_and_can_be_joined():
    assert {"ß", "Ö", "ẞ"} <= set(named("german").symbols)
    assert set(named("polish+turkish").symbols) == set(named("polish").symbols) | set(
        named("turkish").symbols
    )
    assert {"ĳ", "ŵ", "Ħ", "ț"} <= set(named("latin_extended").symbols)
    with pytest.raises(UsageError, match="klingon"):
        named("german+klingon")


@pytest.mark.parametrize("name", NAMED)
def test_every_charset_holds_each_character_once_and_composed(name):
    symbols = NAMED[name]
    assert unicodedata.normalize("NFC", symbols) == symbols
    assert not any(c.isspace() or unicodedata.category(c) in ("Cc", "Mn") for c in symbols)
    charset = named(name)
    assert charset.decode(charset.encode(charset.symbols)) == charset.symbols


def test_ctc_path_merges_repeats_and_keeps_doubled_letters_apart():
    charset = Charset("helo")
    h, e, l, o = (charset.encode(c)[0] for c in "helo")  # noqa: E741
    assert charset.decode_ctc(np.array([[h, h, PAD, e, l, l, PAD, l, o, PAD]])) == ["hello"]


def test_ctc_loss_is_the_probability_of_all_paths_by_hand():
    # Two columns, uniform over 3 symbols; the text "a" has the paths a-, -a, aa: 3/9.
    loss = ctc_loss(torch.zeros(1, 2, 3), torch.tensor([[1]]), torch.tensor([1]))
    assert loss.item() == pytest.approx(math.log(3), rel=1e-5)


def test_decoder_loss_ignores_pads_and_smooths():
    logits = torch.zeros(1, 2, 5)
    logits[0, 0, 3] = 2.0
    target = torch.tensor([[3, PAD]])
    log_p = logits[0, 0].log_softmax(-1)
    by_hand = -(0.9 * log_p[3] + 0.1 * log_p.mean())
    assert decoder_loss(logits, target, 0.1).item() == pytest.approx(by_hand.item(), rel=1e-5)


def test_decoder_does_not_look_ahead(decoder):
    memory = decoder.remember(torch.randn(1, 8, 2, 4))
    a = decoder(memory, torch.tensor([[SOS, 5, 6, 7]]))
    b = decoder(memory, torch.tensor([[SOS, 5, 9, 10]]))
    assert torch.allclose(a[:, :2], b[:, :2], atol=1e-6)
    assert not torch.allclose(a[:, 2], b[:, 2], atol=1e-3)


def greedy(decoder, memory):
    """The likeliest character after all that was said before, computed anew at each step."""
    ids = torch.full((len(memory[0][0]), 1), SOS)
    ended = torch.zeros(len(ids), dtype=torch.bool)
    while ids.shape[1] < decoder.length and not ended.all():
        step = torch.where(ended, PAD, decoder(memory, ids)[:, -1].argmax(-1))
        ids, ended = torch.cat([ids, step[:, None]], 1), ended | (step == EOS)
    return ids[:, 1:]


def test_a_beam_of_one_equals_greedy_decoding_without_a_cache(decoder):
    memory = decoder.remember(torch.randn(6, 8, 2, 4))
    assert torch.equal(greedy(decoder, memory), decoder.beam(memory, 1))


def test_kept_keys_and_values_change_no_logit(decoder):
    memory = decoder.remember(torch.randn(3, 8, 2, 4))
    ids = torch.tensor([[SOS, 5, 6, 7]] * 3)
    past, steps = [], []
    for column in ids.T:
        logits, past = decoder.step(memory, column[:, None], past)
        steps.append(logits)
    torch.testing.assert_close(torch.cat(steps, 1), decoder(memory, ids), atol=1e-5, rtol=1e-5)


def test_padding_and_company_never_change_a_result(decoder):
    features = torch.randn(5, 8, 2, 4)
    together = decoder.beam(decoder.remember(features), 3)
    for i, one in enumerate(features):
        alone = decoder.beam(decoder.remember(one[None]), 3)[0]
        assert together[i, : len(alone)].tolist() == alone.tolist()
        assert set(together[i, len(alone) :].tolist()) <= {PAD}


def test_a_wider_beam_never_finds_a_less_likely_text(decoder):
    memory = decoder.remember(torch.randn(6, 8, 2, 4))

    def log_probability(ids):
        given = torch.cat([torch.full((len(ids), 1), SOS), ids[:, :-1]], 1)
        step = decoder(memory, given).log_softmax(-1).gather(2, ids[..., None])[..., 0]
        return (step * (ids != PAD)).sum(1)

    one, four = log_probability(decoder.beam(memory, 1)), log_probability(decoder.beam(memory, 4))
    assert (four >= one - 1e-4).all()


def test_the_parallel_heads_layer_equals_torchs_with_the_same_weights():
    torch.manual_seed(3)
    ours = EncoderLayer(64, 2, 128, 0.0, batch_first=True, norm_first=True).eval()
    theirs = torch.nn.TransformerEncoderLayer(64, 2, 128, 0.0, batch_first=True, norm_first=True).eval()
    theirs.load_state_dict(ours.state_dict())
    columns = torch.randn(5, 7, 64)
    torch.testing.assert_close(ours(columns), theirs(columns))


def test_word_features_come_from_the_word_and_its_margin():
    level = torch.zeros(1, 1, 16, 32)
    level[0, 0, 4:8, 8:24] = 1.0  # pixels 16..32 x 32..96 at stride 4
    inside = word_features(level, widened(torch.tensor([[32.0, 16, 96, 32]])), torch.tensor([0]), (8, 32), 4)
    elsewhere = word_features(
        level, widened(torch.tensor([[32.0, 40, 96, 56]])), torch.tensor([0]), (8, 32), 4
    )
    assert inside.shape == (1, 1, 8, 32)
    assert inside.mean() > 0.5
    assert elsewhere.abs().max() == 0


def test_features_that_are_trained_on_equal_those_that_are_served_and_so_do_their_gradients():
    torch.manual_seed(0)
    level, page = torch.randn(2, 3, 12, 20), torch.tensor([0, 1, 1, 0, 1])
    views = torch.tensor(  # within, over each edge, outside, thin
        [[8.0, 8, 60, 24], [-9, -7, 30, 9], [50, 30, 95, 60], [200, 9, 240, 20], [9, 9, 9.5, 30]]
    )
    rois = torch.cat([page[:, None].float(), views], 1)
    weight = torch.randn(5, 3, 4, 8)
    trained, served = (level.clone().requires_grad_() for _ in range(2))
    own = word_features(trained, views, page, (4, 8), 4)
    torch.testing.assert_close(own, word_features(level, views, page, (4, 8), 4))
    (own * weight).sum().backward()
    theirs = roi_align(served, rois, (4, 8), spatial_scale=0.25, sampling_ratio=1, aligned=True)
    (theirs * weight).sum().backward()
    torch.testing.assert_close(trained.grad, served.grad)


@pytest.mark.parametrize(("width", "count"), [(30, 1), (45, 1), (46, 2), (67, 2), (68, 3), (5000, WINDOWS)])
def test_a_long_view_is_cut_into_windows_that_overlap_by_half(width, count):
    views, counts = windows(torch.tensor([[10.0, 20, 10 + width, 30]]))
    assert counts.tolist() == [count]
    used = views[0, :count]
    assert used[0, 0] == 10
    assert used[-1, 2] == pytest.approx(10 + width)
    assert (used[:, 1:4:2] == torch.tensor([20.0, 30])).all()
    sizes = used[:, 2] - used[:, 0]
    torch.testing.assert_close(sizes, sizes[:1].expand_as(sizes))
    torch.testing.assert_close(used[1:, 0], (used[:-1, 0] + used[:-1, 2]) / 2)
    assert count == WINDOWS or sizes[0] <= WINDOW_ASPECT * 10 + 1e-3


def test_the_windows_columns_make_one_path_without_gap_or_overlap():
    for count in range(1, WINDOWS + 1):
        place, taken = columns_kept(torch.arange(count), torch.full((count,), count), 32)
        assert sorted(place[taken].tolist()) == list(range(32 + (count - 1) * 16))
    assert path_length(32) == int(place.max()) + 1


def test_markers_come_before_all_symbols():
    assert min(named("latin").encode("aé€")) >= MARKERS


@pytest.mark.parametrize(("text", "width"), [("million,", 60), ("I", 3), ("international", 90), ("aa", 12)])
def test_a_flat_start_spells_the_word_from_left_to_right(text, width):
    charset = named("english")
    ids = torch.tensor([charset.encode(text) + [PAD] * (24 - len(text))])
    box = torch.tensor([[5.0, 0, 5 + width, 10]])
    columns = flat_start(ids, box, box, letter_widths(charset.symbols), torch.tensor([32]), 32)[0].tolist()
    assert charset.decode_ctc(np.array([columns])) == [text]


def test_a_flat_start_is_blank_where_the_word_is_not():
    charset = named("english")
    ids = torch.tensor([charset.encode("on")])
    box = torch.tensor([[100.0, 0, 120, 10]])
    seen, widths = box + torch.tensor([[-100.0, 0, 0, 0]]), letter_widths(charset.symbols)
    columns = flat_start(ids, box, seen, widths, torch.tensor([32]), 32)[0]
    assert (columns[:20] == PAD).all()
    assert (columns[20:] != PAD).any()
