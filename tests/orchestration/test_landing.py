import os

import dagster as dg
import pytest

from ml.errors import UsageError
from orchestration.batches import Batch, batch_name, is_stable, read_batches, register, require_readable
from orchestration.land import land
from orchestration.sensors import landing_sensor

PARTITIONS = dg.DynamicPartitionsDefinition(name="page_batches")


def tick(project, instance, quiet_seconds=0.0):
    sensor = landing_sensor(project.root, PARTITIONS, "landed_batch", quiet_seconds)
    return sensor(dg.build_sensor_context(instance=instance))


def drop(project, name: str, *files: str):
    for file in files:
        project.write(f"data/landing/{name}/{file}", "x")


def test_a_landed_folder_becomes_batch_partition_and_run(project, instance):
    drop(project, "march", "a.pdf", "b.pdf")
    result = tick(project, instance)
    assert read_batches(project.root)["march"] == Batch("march", "auto", "data/landing/march")
    assert [request.partition_key for request in result.run_requests] == ["march"]
    added = result.dynamic_partitions_requests[0]
    assert set(added.partition_keys) == {"synthetic", "march"}


def test_a_known_batch_is_not_asked_for_again(project, instance):
    drop(project, "march", "a.pdf")
    result = tick(project, instance)
    instance.add_dynamic_partitions("page_batches", result.dynamic_partitions_requests[0].partition_keys)
    assert isinstance(tick(project, instance), dg.SkipReason)


def test_a_folder_still_being_copied_waits(project, instance):
    drop(project, "march", "a.pdf")
    tick(project, instance, quiet_seconds=60)
    assert "march" not in read_batches(project.root)


def test_stable_means_that_no_file_in_it_is_new(tmp_path):
    path = tmp_path / "deep" / "a.pdf"
    path.parent.mkdir()
    path.write_text("x")
    newest = path.stat().st_mtime
    os.utime(tmp_path, (newest - 90, newest - 90))
    assert not is_stable(tmp_path, 30, now=newest + 29)
    assert is_stable(tmp_path, 30, now=newest + 31)


def test_a_folder_with_nothing_readable_is_named_and_left(project, instance):
    drop(project, "notes", "a.txt")
    instance.add_dynamic_partitions("page_batches", ["synthetic"])
    reason = tick(project, instance)
    assert isinstance(reason, dg.SkipReason)
    assert "notes: no PDF and no image" in str(reason.skip_message)


def test_land_copies_registers_and_replaces(project, tmp_path):
    source = tmp_path / "My Scans 2026"
    source.mkdir()
    (source / "a.png").write_text("1")
    (source / "boxes.json").write_text("{}")
    batch = land(project.root, source)
    assert batch == Batch("my-scans-2026", "auto", "data/landing/my-scans-2026")
    (source / "a.png").rename(source / "b.png")
    land(project.root, source)
    landed = project.root / batch.path
    assert sorted(path.name for path in landed.iterdir()) == ["b.png", "boxes.json"]
    assert read_batches(project.root)["my-scans-2026"] == batch


@pytest.mark.parametrize("name", ["../up", "", "a b", "ALL", ".hidden", "a@b", "x" * 49])
def test_bad_batch_names_are_refused(name):
    with pytest.raises(UsageError, match="cannot name a batch"):
        batch_name(name)


def test_the_graphs_own_batch_cannot_be_overwritten(project, tmp_path):
    (tmp_path / "a.pdf").write_text("x")
    with pytest.raises(UsageError, match="the graph makes itself"):
        land(project.root, tmp_path, name="synthetic")


def test_a_missing_folder_is_refused(project, tmp_path):
    with pytest.raises(UsageError, match="no such folder"):
        land(project.root, tmp_path / "absent")


def test_a_folder_is_readable_when_a_reader_knows_something_in_it(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(UsageError, match="no PDF and no image"):
        require_readable(tmp_path)
    (tmp_path / "a.pdf").write_text("x")
    require_readable(tmp_path)


def test_registering_twice_changes_nothing(project):
    batch = Batch("march", "pdf", "data/landing/march")
    assert register(project.root, batch)
    before = (project.root / "batches.yaml").read_bytes()
    assert not register(project.root, batch)
    assert (project.root / "batches.yaml").read_bytes() == before
