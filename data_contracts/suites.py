"""What must hold of a batch, as data.

A `critical` rule of scope `page` costs exactly the pages that break it; one of scope `batch` costs the batch.
A `warning` is shown and blocks nothing. Of a snapshot any critical rule costs the whole. The expectation is a
type of Great Expectations, the column a fact (`facts`), and the reason is filled in with the facts of the row
that failed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from ml.pages.labels import CANONICAL

Severity = Literal["critical", "warning"]
Scope = Literal["page", "batch"]


#: Tables of one row, about the whole.
_ONE_ROW = ("batch", "shift", "snapshot")


@dataclass(frozen=True)
class Rule:
    """One expectation on one column of one table."""

    name: str
    table: Literal["pages", "words", "regions", "batch", "shift", "splits", "snapshot"]
    severity: Severity
    expectation: str
    column: str
    arguments: dict[str, Any]
    why: str
    reason: str  # of a failing row: a template over its facts
    shown: str = ""  # the fact that is the failing row's value, where it is not `column`
    scope: Scope = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "scope", "batch" if self.table in _ONE_ROW else "page")

    @property
    def suite(self) -> str:
        """Rules of one table and one severity are one suite."""
        return self.table if self.severity == "critical" else f"{self.table}-warnings"


_BETWEEN = "ExpectColumnValuesToBeBetween"
_IN_SET = "ExpectColumnValuesToBeInSet"
_UNIQUE = "ExpectColumnValuesToBeUnique"
_TRUE = {"value_set": [True]}
_FALSE = {"value_set": [False]}

#: Boxes may leave their page by this many pixels: annotations are often rounded outwards.
ROUNDING = 1.0

_PAGES = (
    Rule(
        "image_decodes",
        "pages",
        "critical",
        _IN_SET,
        "decodes",
        _TRUE,
        "A model cannot look at what is no image.",
        "{item}: {error}; save the image again or take it out",
        "error",
    ),
    Rule(
        "page_id_true",
        "pages",
        "critical",
        _IN_SET,
        "id_true",
        _TRUE,
        "Caches and splits go by the id, so it must be the image's own hash.",
        "{item}: the id is not the SHA-256 of the image; ingest it again",
        "page",
    ),
    Rule(
        "page_size_true",
        "pages",
        "critical",
        _IN_SET,
        "size_true",
        _TRUE,
        "Boxes are meant for the stated size; in another image they lie elsewhere.",
        "{item}: {found_size} pixels, but {width} x {height} are stated; scale the boxes to the image",
        "found_size",
    ),
    Rule(
        "page_large_enough",
        "pages",
        "critical",
        _BETWEEN,
        "short_edge",
        {"min_value": 32},
        "Below 32 pixels, the networks' coarsest stride, nothing is left to look at.",
        "{item}: {width} x {height} pixels; the shorter side must be 32 at least",
    ),
    Rule(
        "page_unique",
        "pages",
        "warning",
        _UNIQUE,
        "page",
        {},
        "A page that is there twice would count twice; the snapshot takes the first.",
        "{item}: the batch holds this image more than once",
    ),
    Rule(
        "page_not_blank",
        "pages",
        "warning",
        _BETWEEN,
        "ink",
        {"min_value": 0.0005},
        "A page without ink is often a failed scan.",
        "{item}: {ink:.4%} of it is ink; is the page blank?",
    ),
    Rule(
        "page_not_dark",
        "pages",
        "warning",
        _BETWEEN,
        "ink",
        {"max_value": 0.5},
        "Where most differs from the paper, the page is a photograph or badly exposed.",
        "{item}: {ink:.0%} of it differs from its paper; is it a page?",
    ),
    Rule(
        "page_annotated",
        "pages",
        "warning",
        _IN_SET,
        "annotated",
        _TRUE,
        "A page of which nothing is known teaches nothing until a model has labelled it.",
        "{item}: neither words nor regions are known of it",
    ),
    Rule(
        "page_no_twin",
        "pages",
        "warning",
        "ExpectColumnValuesToBeNull",
        "twin",
        {},
        "The same page in two documents may land in two splits and flatter the test.",
        "{item}: looks the same as {twin} of another document; drop one, or give both one document",
    ),
    Rule(
        "page_order_complete",
        "pages",
        "warning",
        _BETWEEN,
        "line_gap",
        {"max_value": -1},
        "Reading order is what line numbers without gap or return say.",
        "{item}: at word {line_gap:.0f} the line number is missing, skips or goes back",
    ),
    Rule(
        "page_text_legible",
        "pages",
        "warning",
        _BETWEEN,
        "word_height",
        {"min_value": 5.0},
        "Letters of fewer than five pixels cannot be told apart.",
        "{item}: half of its words are lower than {word_height:.1f} pixels; render it larger",
    ),
    Rule(
        "text_in_charset",
        "pages",
        "warning",
        _IN_SET,
        "outside_charset",
        {"value_set": [""]},
        "The reader cannot learn characters that its charset lacks.",
        "{item}: {outside_charset} is not in the charset; choose a larger trident.charset if it matters",
    ),
)


def _of_boxes(table: Literal["words", "regions"], kind: str) -> tuple[Rule, ...]:
    """The rules that words and regions share."""
    return (
        Rule(
            f"{kind}_box_finite",
            table,
            "critical",
            _IN_SET,
            "finite",
            _TRUE,
            "NaN in one box becomes NaN in every weight.",
            "{item}, " + kind + " {number}: the box {box} is not made of finite numbers; annotate it again",
            "box",
        ),
        Rule(
            f"{kind}_box_has_area",
            table,
            "critical",
            _BETWEEN,
            "short_side",
            {"min_value": 0, "strict_min": True},
            "A box with swapped corners or without area makes losses negative or infinite.",
            "{item}, "
            + kind
            + " {number}: the box {box} has no area or swapped corners; boxes are x1, y1, x2, y2",
            "box",
        ),
        Rule(
            f"{kind}_box_inside",
            table,
            "critical",
            _BETWEEN,
            "outside",
            {"max_value": ROUNDING},
            "A box outside its page was meant for another size or another page.",
            "{item}, "
            + kind
            + " {number}: the box {box} leaves the page of {width:.0f} x {height:.0f} by {outside:.1f} "
            "pixels; correct the box or the size that it is meant for",
            "box",
        ),
        Rule(
            f"{kind}_box_not_sliver",
            table,
            "warning",
            _BETWEEN,
            "short_side",
            {"min_value": 1.0},
            "A box thinner than a pixel cannot be seen by a network.",
            "{item}, " + kind + " {number}: the box {box} is thinner than a pixel",
            "box",
        ),
    )


_WORDS = (
    *_of_boxes("words", "word"),
    Rule(
        "word_text_given",
        "words",
        "critical",
        _BETWEEN,
        "characters",
        {"min_value": 1},
        "A word without text teaches the reader that ink means nothing.",
        "{item}, word {number}: the text is empty; write it down or remove the box",
        "text",
    ),
    Rule(
        "word_is_one",
        "words",
        "warning",
        "ExpectColumnValuesToNotMatchRegex",
        "text",
        {"regex": r"\S\s+\S"},
        "The reader's charset has no space: two words in one box become one.",
        "{item}, word {number}: {text!r} is more than one word",
    ),
    Rule(
        "word_on_ink",
        "words",
        "warning",
        _BETWEEN,
        "ink",
        {"min_value": 0, "strict_min": True},
        "A word where nothing is printed is hidden text, or its box is misplaced.",
        "{item}, word {number} ({text!r}): no ink inside the box {box}",
        "box",
    ),
)

_REGIONS = (
    *_of_boxes("regions", "region"),
    Rule(
        "region_label_known",
        "regions",
        "critical",
        _IN_SET,
        "label",
        {"value_set": list(CANONICAL)},
        "A model has one output per known label and none for others.",
        "{item}, region {number}: {label!r} is not one of DocLayNet's eleven labels; rename it",
    ),
    Rule(
        "region_once",
        "regions",
        "warning",
        _IN_SET,
        "repeats",
        _FALSE,
        "A region that is there twice punishes a model for finding it once.",
        "{item}, region {number} ({label}): the page has the box {box} with this label before",
        "box",
    ),
)

_BATCH = (
    Rule(
        "batch_has_pages",
        "batch",
        "critical",
        _BETWEEN,
        "accepted",
        {"min_value": 1},
        "A batch without a good page is no batch.",
        "no page is left of {pages:.0f}",
    ),
    Rule(
        "batch_mostly_good",
        "batch",
        "critical",
        _BETWEEN,
        "lost_share",
        {"max_value": 0.5},
        "Where more than half is bad, the cause is a common one, and the rest is not to be trusted.",
        "{lost:.0f} of {found:.0f} pages are lost ({lost_share:.0%}); mend the cause and land it again",
    ),
    Rule(
        "batch_labels_balanced",
        "batch",
        "warning",
        _BETWEEN,
        "largest_label_share",
        {"max_value": 0.95},
        "A detector that sees one label only learns to say nothing else.",
        "{largest_label_share:.0%} of the regions are {largest_label}",
    ),
    Rule(
        "batch_annotated",
        "batch",
        "warning",
        _BETWEEN,
        "annotated_share",
        {"min_value": 0, "strict_min": True},
        "A batch without any annotation adds nothing to training yet.",
        "no page has words or regions",
    ),
)


def _shift(measure: str, most: float, why: str, reason: str) -> Rule:
    return Rule(
        f"shift_of_{measure}", "shift", "warning", _BETWEEN, measure, {"max_value": most}, why, reason
    )


_SHIFT = (
    _shift(
        "ink",
        1.5,
        "Other ink is other paper, another scanner or another kind of document than the models know.",
        "the share of ink differs by a factor of {ink:.2f} from the reference snapshot's",
    ),
    _shift(
        "word_height",
        1.3,
        "Readers and detectors are trained for the heights of words that they have seen.",
        "the height of words differs by a factor of {word_height:.2f} from the reference snapshot's; "
        "were the pages scaled?",
    ),
    _shift(
        "words",
        2.0,
        "Pages much fuller or emptier are other documents, or their words were found otherwise.",
        "the words a page differ by a factor of {words:.2f} from the reference snapshot's",
    ),
    _shift(
        "short_edge",
        1.3,
        "Pages of another size are scaled otherwise before a model sees them.",
        "the pages' shorter side differs by a factor of {short_edge:.2f} from the reference snapshot's",
    ),
    _shift(
        "label",
        0.25,
        "Another mixture of regions is another kind of document, or another way of labelling.",
        "{label:.0%} of the regions would need other labels to be mixed as in the reference snapshot",
    ),
    _shift(
        "character",
        0.15,
        "Another mixture of characters is another language, or texts read with another encoding.",
        "{character:.0%} of the characters would have to be others to be mixed as in the reference snapshot",
    ),
)

_SPLITS = (
    Rule(
        "document_in_one_split",
        "splits",
        "critical",
        _BETWEEN,
        "document_splits",
        {"max_value": 1},
        "Pages of one document resemble each other: a test on them measures memory.",
        "{item}: pages of its document {document} lie in {document_splits} splits; make the snapshot again",
    ),
    Rule(
        "page_in_one_split",
        "splits",
        "critical",
        _BETWEEN,
        "page_splits",
        {"max_value": 1},
        "A page that was trained on proves nothing in a test.",
        "{item}: this image lies in {page_splits} splits; make the snapshot again",
    ),
    Rule(
        "page_no_twin_across_splits",
        "splits",
        "warning",
        "ExpectColumnValuesToBeNull",
        "twin",
        {},
        "A page that looks like one in another split flatters the test.",
        "{item} ({split}): looks the same as {twin} of another split; give both one document and ingest again",
    ),
)

_SNAPSHOT = (
    Rule(
        "snapshot_trains",
        "snapshot",
        "critical",
        _BETWEEN,
        "train",
        {"min_value": 1},
        "Without training pages there is nothing to learn from.",
        "no page is left to train on; land more documents",
    ),
    Rule(
        "snapshot_holds_out",
        "snapshot",
        "warning",
        _BETWEEN,
        "held_out",
        {"min_value": 1},
        "Without pages held out nobody knows which model is the better one.",
        "val has {val:.0f} pages and test has {test:.0f}; land more documents or raise their shares",
    ),
    Rule(
        "snapshot_labels_trained",
        "snapshot",
        "warning",
        _IN_SET,
        "untrained",
        {"value_set": [""]},
        "What is in no training page cannot be found in a test page.",
        "{untrained} is held out only; land more documents that show it",
    ),
    Rule(
        "snapshot_labels_spread",
        "snapshot",
        "warning",
        _BETWEEN,
        "label_distance",
        {"max_value": 0.3},
        "Splits with different mixtures of labels measure different things.",
        "{label_distance:.0%} of the regions of {farthest} would need other labels to be mixed as in train",
    ),
)

#: Rules on tables of facts, rules on what they leave of the batch, and on its distance from the reference.
PAGE_RULES: tuple[Rule, ...] = (*_PAGES, *_WORDS, *_REGIONS)
BATCH_RULES: tuple[Rule, ...] = _BATCH
SHIFT_RULES: tuple[Rule, ...] = _SHIFT
#: Rules on the pages of a snapshot and on the whole of it.
SPLIT_RULES: tuple[Rule, ...] = _SPLITS
SNAPSHOT_RULES: tuple[Rule, ...] = _SNAPSHOT
