from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ml.pages.page import Page
from ml.pages.readers.coco import read_coco
from ml.pages.readers.refusal import Refusal
from tests.pages.making import coco, png


def dataset(
    folder: Path, annotations: list[dict[str, Any]], categories=None, images=None
) -> list[Page | Refusal]:
    (folder / "page.png").write_bytes(png(1, (100, 200)))
    listed = images or [{"id": 1, "file_name": "page.png", "width": 100, "height": 200}]
    names = categories or [{"id": 1, "name": "text"}]
    (folder / "annotations.json").write_text(coco(listed, annotations, names))
    return list(read_coco(folder))


def annotation(box, category: Any = 1, image: Any = 1) -> dict[str, Any]:
    return {"id": 1, "image_id": image, "category_id": category, "bbox": box}


def regions(reads) -> list[tuple[str, tuple[float, ...]]]:
    (page,) = reads
    assert isinstance(page, Page) and page.words is None
    return [(region.label, region.box) for region in page.regions or ()]


def refused(reads) -> list[str]:
    return [read.rule for read in reads if isinstance(read, Refusal)]


def test_boxes_become_corners_and_publaynets_names_canonical(tmp_path):
    assert regions(dataset(tmp_path, [annotation([10, 20, 30, 40])])) == [("Text", (10, 20, 40, 60))]


@pytest.mark.parametrize("ids", [(0, 1, 2), (7, 3, 90), ("t", "f", "l")])
def test_category_ids_mean_what_their_names_say(tmp_path, ids):
    categories = [
        {"id": key, "name": name} for key, name in zip(ids, ("table", "figure", "list"), strict=True)
    ]
    found = regions(
        dataset(
            tmp_path,
            [annotation([1, y, 5, 5], key) for y, key in zip((9, 30, 60), ids, strict=True)],
            categories,
        )
    )
    assert [label for label, _ in found] == ["Table", "Picture", "List-item"]


def test_regions_are_put_in_reading_order(tmp_path):
    boxes = [[55, 10, 40, 80], [5, 60, 40, 30], [5, 10, 40, 40], [5, 120, 90, 20]]
    found = regions(dataset(tmp_path, [annotation(box) for box in boxes]))
    assert [box[:2] for _, box in found] == [(5, 10), (5, 60), (55, 10), (5, 120)]


def test_unknown_names_and_boxes_over_the_edge_are_left_to_the_contracts(tmp_path):
    categories = [{"id": 1, "name": "stamp"}]
    assert regions(dataset(tmp_path, [annotation([90, -5, 30, 40])], categories)) == [
        ("stamp", (90, -5, 120, 35))
    ]


def test_an_image_without_annotations_has_no_regions_and_is_annotated(tmp_path):
    assert regions(dataset(tmp_path, [])) == []


def test_boxes_follow_an_image_that_was_scaled(tmp_path):
    images = [{"id": 1, "file_name": "page.png", "width": 200, "height": 400}]
    assert regions(dataset(tmp_path, [annotation([20, 40, 60, 80])], images=images)) == [
        ("Text", (10, 20, 40, 60))
    ]


@pytest.mark.parametrize(
    ("broken", "rule"),
    [
        (annotation([1, 2, float("nan"), 4]), "box_invalid"),
        (annotation([1, 2, -3, 4]), "box_invalid"),
        (annotation([1, 2, 3]), "box_invalid"),
        (annotation(["a", 2, 3, 4]), "box_invalid"),
        (annotation([1, 2, 3, 4], category=99), "box_invalid"),
        (annotation([1, 2, 3, 4], image=99), "annotation_orphan"),
    ],
)
def test_broken_annotations_are_set_aside_by_rule(tmp_path, broken, rule):
    assert refused(dataset(tmp_path, [annotation([1, 2, 3, 4]), broken])) == [rule]


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("../secret.png", "path_escape"),
        ("inner/../../secret.png", "path_escape"),
        ("/etc/passwd", "path_escape"),
        ("link.png", "path_escape"),
        ("loop.png", "file_missing"),
        ("absent.png", "file_missing"),
        ("cut.png", "image_unreadable"),
        ("text.png", "image_unreadable"),
    ],
)
def test_images_outside_the_folder_missing_or_broken_are_set_aside_and_the_rest_goes_on(tmp_path, name, rule):
    folder = tmp_path / "batch"
    (folder / "inner").mkdir(parents=True)
    (tmp_path / "secret.png").write_bytes(png(2))
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    (folder / "loop.png").symlink_to(folder / "loop.png")
    (folder / "cut.png").write_bytes(png(3)[:900])
    (folder / "text.png").write_text("no image")
    images = [{"id": 2, "file_name": name}, {"id": 1, "file_name": "page.png", "width": 100, "height": 200}]
    reads = dataset(folder, [], images=images)
    assert refused(reads) == [rule]
    assert [read.source for read in reads if isinstance(read, Page)] == ["page.png"]


def test_a_size_out_of_proportion_is_set_aside(tmp_path):
    images = [{"id": 1, "file_name": "page.png", "width": 1025, "height": 1025}]
    assert refused(dataset(tmp_path, [], images=images)) == ["coco_size"]


def test_entries_that_are_none_are_set_aside(tmp_path):
    assert refused(dataset(tmp_path, [], images=[{"width": 3}, "x"])) == ["coco_image", "coco_image"]


def test_an_id_that_two_images_share_says_nothing_of_either(tmp_path):
    images = [
        {"id": 1, "file_name": "page.png"},
        {"id": 1, "file_name": "b.png"},
        {"id": 2, "file_name": "page.png"},
    ]
    reads = dataset(tmp_path, [annotation([1, 2, 3, 4])], images=images)
    assert refused(reads) == ["coco_id", "coco_id"]
    assert [read.source for read in reads if isinstance(read, Page)] == ["page.png"]


def test_an_image_listed_twice_is_read_once(tmp_path):
    images = [{"id": 1, "file_name": "page.png"}, {"id": 2, "file_name": "page.png"}]
    reads = dataset(tmp_path, [annotation([1, 2, 3, 4])], images=images)
    assert isinstance(reads[0], Page) and refused(reads) == ["page_twice"]


def test_a_category_with_two_names_and_a_flood_of_boxes_are_set_aside(tmp_path):
    two = [{"id": 1, "name": "text"}, {"id": 1, "name": "table"}]
    assert refused(dataset(tmp_path, [], categories=two)) == ["coco_unreadable"]
    assert refused(dataset(tmp_path, [annotation([1, 2, 3, 4])] * 2001)) == ["page_boxes"]


def test_a_file_cut_off_is_set_aside(tmp_path):
    (tmp_path / "annotations.json").write_text('{"images": [], "annotations": [], "categories": [')
    assert refused(read_coco(tmp_path)) == ["coco_unreadable"]


def test_images_are_found_in_the_folder_beside_the_annotations(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images/PMC12_00003.png").write_bytes(png(1))
    (tmp_path / "x.json").write_text(coco([{"id": 1, "file_name": "PMC12_00003.png"}], [], []))
    (page,) = read_coco(tmp_path)
    assert isinstance(page, Page) and page.document == "PMC12"


def test_annotations_that_lead_out_of_the_folder_are_not_looked_at(tmp_path):
    (tmp_path / "batch").mkdir()
    (tmp_path / "secret.json").write_text(coco([{"id": 1, "file_name": "page.png"}], [], []))
    (tmp_path / "batch/link.json").symlink_to(tmp_path / "secret.json")
    (tmp_path / "batch/endless.json").symlink_to("/dev/zero")
    assert list(read_coco(tmp_path / "batch")) == []
