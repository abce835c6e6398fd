"""Indexes of large tables: used, made anew when they must be, and never in the way."""

import json
import logging
import multiprocessing
import os
import pickle
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from calibration.errors import InputError
from perception.sources import FrameOptions, nuscenes_index, nuscenes_tables
from perception.sources.nuscenes import Source
from perception.sources.nuscenes_tables import Annotation, Calibration, Instance, Named, Sample, SampleData, Table
from perception.types import Truth
from tests.nuscenes_fixture import VERSION, edited, write_nuscenes

TABLES = {"sample": Sample, "sample_data": SampleData, "sample_annotation": Annotation, "instance": Instance}
TABLES |= {"calibrated_sensor": Calibration, "category": Named}


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """A dataset all of whose tables are large enough for an index, and a cache of its own."""
    nuscenes_index._say_there_is_none.cache_clear()
    monkeypatch.setattr(nuscenes_index, "LEAST_BYTES", 0)
    monkeypatch.setattr(nuscenes_index, "LEAST_TOGETHER", 0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_nuscenes(tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def parsed(monkeypatch) -> list[str]:
    """Names of the tables that are parsed from now on."""
    names, records = [], nuscenes_tables._records
    monkeypatch.setattr(nuscenes_tables, "_records", lambda path: names.append(path.stem) or records(path))
    return names


def rows(root: Path, name: str) -> list:
    return list(Table(root / VERSION, name, TABLES[name]))


@pytest.mark.parametrize("name", TABLES)
def test_an_index_holds_what_the_table_does(root, name, parsed, monkeypatch):
    written = json.loads((root / VERSION / f"{name}.json").read_text())
    fields = TABLES[name]._fields
    for opening in (rows(root, name), rows(root, name)):
        assert [row._asdict() for row in opening] == [{field: row[field] for field in fields} for row in written]
    assert parsed == [name]
    monkeypatch.setattr(nuscenes_index, "LEAST_BYTES", 1 << 40)
    assert rows(root, name) == opening
    assert parsed == [name, name]


def test_a_source_opens_without_parsing_a_table_again(root, parsed):
    first = Source(root, FrameOptions(allow_missing=True))
    assert sorted(parsed) == sorted(set(parsed))
    parsed.clear()
    second = Source(root, FrameOptions(allow_missing=True))
    assert parsed == []
    for one, other in zip(first, second, strict=True):
        assert one.token == other.token
        assert np.array_equal(one.truth.boxes.centers, other.truth.boxes.centers)


def test_a_table_that_changed_is_read_anew(root):
    assert len(rows(root, "instance")) > 1
    with edited(root, "instance") as records:
        kept = records[0]["token"]
        del records[1:]
    assert [row.token for row in rows(root, "instance")] == [kept]


def test_a_table_of_equal_size_that_changed_is_read_anew(root):
    path = root / VERSION / "category.json"
    before = rows(root, "category")
    text = path.read_text()
    path.write_text(text.replace(before[0].name, before[0].name[::-1]))
    state = path.stat()
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    assert rows(root, "category")[0].name == before[0].name[::-1]


@pytest.mark.parametrize("size", [0, 3, 100, -200, -1])
def test_an_index_that_was_cut_is_made_anew(root, size, parsed):
    before = rows(root, "sample_data")
    (index,) = (root / VERSION / ".index").iterdir()
    os.truncate(index, size % index.stat().st_size)
    assert rows(root, "sample_data") == before
    assert rows(root, "sample_data") == before
    assert parsed == ["sample_data", "sample_data"]


@pytest.mark.parametrize("place", [0, 0.01, 0.1, 0.3, 0.5, 0.8, 0.95, 1])
def test_an_index_that_was_damaged_anywhere_is_made_anew(root, place, parsed):
    before = rows(root, "sample_annotation")
    (index,) = (root / VERSION / ".index").iterdir()
    content = bytearray(index.read_bytes())
    content[int(place * (len(content) - 1))] ^= 0x5A
    index.write_bytes(content)
    assert rows(root, "sample_annotation") == before
    assert rows(root, "sample_annotation") == before
    assert parsed == ["sample_annotation", "sample_annotation"]


def test_small_datasets_get_no_index(root, monkeypatch):
    monkeypatch.setattr(nuscenes_index, "LEAST_TOGETHER", 1 << 30)
    Source(root, FrameOptions(allow_missing=True))
    assert not (root / VERSION / ".index").exists()


def test_what_a_killed_process_left_is_removed_after_a_day(root):
    (root / VERSION / ".index").mkdir()
    left, others = (root / VERSION / ".index" / f".sample-Sample.columns.{i}-1.part" for i in (1, 2))
    for path, age_s in ((left, 2 * 86400), (others, 60)):
        path.write_bytes(b"half")
        os.utime(path, (time.time() - age_s,) * 2)
    rows(root, "sample")
    assert (left.exists(), others.exists()) == (False, True)


def test_where_the_dataset_cannot_be_written_to_the_index_lies_in_the_cache(root, tmp_path, parsed):
    (root / VERSION / ".index").write_text("in the way")
    before = rows(root, "sample")
    assert rows(root, "sample") == before
    assert parsed == ["sample"]
    assert [path.name for path in (tmp_path / "cache").rglob("*.columns")] == ["sample-Sample.columns"]


def test_where_nothing_can_be_written_the_table_is_parsed_each_time_and_that_is_said(root, tmp_path, parsed, caplog):
    for place in (root / VERSION / ".index", tmp_path / "cache"):
        place.write_text("in the way")
    with caplog.at_level(logging.WARNING):
        assert rows(root, "sample") == rows(root, "sample") != rows(root, "instance")
    assert parsed == ["sample", "sample", "instance"]
    (record,) = caplog.records
    assert record.getMessage().startswith(f"{root / VERSION}: parsed each time, as neither ")


def test_users_without_a_home_need_no_cache(root, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # what it does for them
    (root / VERSION / ".index").write_text("in the way")
    assert len(rows(root, "sample")) == 6
    assert not Path("~").exists()


def test_a_malformed_table_leaves_no_index_behind(root, parsed):
    path = root / VERSION / "sample.json"
    path.write_text(path.read_text()[:-20])
    with pytest.raises(InputError, match="broken JSON"):
        rows(root, "sample")
    assert list((root / VERSION / ".index").iterdir()) == []


@pytest.mark.parametrize("value", [[1, "two", 3], [1, {}, 3], [[1], [2], [3]], [10**400, 0, 0]])
def test_a_value_that_its_column_cannot_hold_is_named(root, value):
    with edited(root, "sample_annotation") as records:
        records[3]["translation"] = value
    with pytest.raises(InputError, match="translation of row 3: expected type list of float, got"):
        rows(root, "sample_annotation")


def test_several_may_build_the_same_index_at_once(root):
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: rows(root, "sample_data"), range(8)))
    assert all(one == found[0] for one in found)
    assert [path.name for path in (root / VERSION / ".index").iterdir()] == ["sample_data-SampleData.columns"]


def test_of_rows_with_one_token_the_last_counts_in_the_place_of_the_first(root):
    with edited(root, "category") as records:
        first, second = records[:2]
        records[:] = [first, second, first | {"name": "later"}, second, first | {"name": "last"}]
    for _ in "parsed", "indexed":
        table = Table(root / VERSION, "category", Named)
        assert [row.name for row in table] == ["last", second["name"]]
        assert table[first["token"]].name == "last"


def test_a_source_travels_to_other_processes_without_its_tables(root):
    source = Source(root, FrameOptions(allow_missing=True))
    sent = pickle.dumps(source)
    assert len(sent) < sum(path.stat().st_size for path in (root / VERSION / ".index").iterdir()) / 4
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert_same_truths(source, pool.map(source.truth, source.tokens))


def test_forked_processes_read_from_the_same_index(root):
    source = Source(root, FrameOptions(allow_missing=True))
    with multiprocessing.get_context("fork").Pool(2, _opened.append, [source]) as pool:
        assert_same_truths(source, pool.map(_truth_of_the_opened, source.tokens))


_opened: list[Source] = []


def _truth_of_the_opened(token: str) -> Truth:
    return _opened[0].truth(token)


def assert_same_truths(source: Source, found: list[Truth]) -> None:
    for truth, token in zip(found, source.tokens, strict=True):
        assert np.array_equal(truth.boxes.centers, source.truth(token).boxes.centers)


def test_a_source_whose_index_is_gone_does_not_travel(root):
    sent = pickle.dumps(Source(root, FrameOptions(allow_missing=True)))
    shutil.rmtree(root / VERSION / ".index")
    with pytest.raises(InputError, match="the index that was there"):
        pickle.loads(sent)


def test_the_development_kit_opens_a_dataset_with_indexes(root):
    nuscenes = pytest.importorskip("nuscenes.nuscenes")
    Source(root, FrameOptions(allow_missing=True))
    kit = nuscenes.NuScenes(VERSION, str(root), verbose=False)
    assert len(kit.sample) == len(rows(root, "sample"))
