"""Columns say what the rows of a table do, wherever they are kept and however they are cut into batches."""

import json
from pathlib import Path

import numpy as np
import pytest

from perception.sources import columns, nuscenes_index
from perception.sources.nuscenes_tables import Annotation, Calibration, Instance, Sample, SampleData, Table
from tests.nuscenes_fixture import VERSION, edited, write_nuscenes

LEADS = {"sample_token": ("sample", Sample), "instance_token": ("instance", Instance)}
LEADS |= {"prev": ("sample_annotation", Annotation), "next": ("sample_annotation", Annotation)}


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = write_nuscenes(tmp_path_factory.mktemp("columns") / "data", scenes=2, samples=2, sweeps=1)
    with edited(root, "sample_annotation") as records:
        records[5]["size"] = [1.0, 2.0]
    return root


@pytest.fixture(params=["memory", "index"])
def folder(request, root, monkeypatch) -> Path:
    """Where the tables are, which are then read from memory or from an index."""
    if request.param == "index":
        monkeypatch.setattr(nuscenes_index, "LEAST_BYTES", 0)
        monkeypatch.setattr(nuscenes_index, "LEAST_TOGETHER", 0)
    monkeypatch.setattr(nuscenes_index, "FORMAT", request.node.name)  # an index of this test's own
    return root / VERSION


@pytest.fixture(params=[7, 1 << 15])
def batch(request, monkeypatch) -> int:
    monkeypatch.setattr(columns, "BATCH", request.param)
    return request.param


def written(folder: Path, name: str) -> list[dict]:
    return json.loads((folder / f"{name}.json").read_text())


def some_places(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    shuffled = [rng.permutation(count)[:size] for size in (0, 1, 3, 6, count)]
    return [np.arange(count), np.array([count - 1, 0, 0]), *shuffled]


def test_every_accessor_says_what_was_written(folder, batch):
    table, rows = Table(folder, "sample_annotation", Annotation), written(folder, "sample_annotation")
    assert len(table) == len(rows)
    for places in some_places(len(rows)):
        picked = [rows[place] for place in places]
        for field in ("token", "prev", "visibility_token", "attribute_tokens", "translation"):
            assert table.objects(field, places) == [row[field] for row in picked]
        assert table.column("num_lidar_pts", places).tolist() == [row["num_lidar_pts"] for row in picked]
        sizes = [row["size"] if len(row["size"]) == 3 else [np.nan] * 3 for row in picked]
        np.testing.assert_array_equal(table.vectors("size", places, 3), np.reshape(sizes, (-1, 3)))
        assert [table.at(place)._asdict() for place in places] == [
            {field: row[field] for field in Annotation._fields} for row in picked
        ]


@pytest.mark.parametrize("field", LEADS)
def test_following_a_token_leads_to_its_row(folder, batch, field):
    table, (name, row) = Table(folder, "sample_annotation", Annotation), LEADS[field]
    target, rows = Table(folder, name, row), written(folder, "sample_annotation")
    place_of = {record["token"]: place for place, record in enumerate(written(folder, name))}
    for places in some_places(len(rows)):
        expected = [place_of.get(rows[place][field], -1) for place in places]
        assert table.follow(field, target, places).tolist() == expected


def test_truths_and_nested_lists_are_python_s_own(folder, batch):
    data, calibrations = written(folder, "sample_data"), written(folder, "calibrated_sensor")
    assert Table(folder, "sample_data", SampleData).column("is_key_frame").tolist() == [r["is_key_frame"] for r in data]
    assert [row.is_key_frame for row in Table(folder, "sample_data", SampleData)] == [r["is_key_frame"] for r in data]
    found = [row.camera_intrinsic for row in Table(folder, "calibrated_sensor", Calibration)]
    assert found == [row["camera_intrinsic"] for row in calibrations]


def test_some_rows_of_a_table_are_found_by_their_tokens_alone(folder, batch):
    table, rows = Table(folder, "sample_annotation", Annotation), written(folder, "sample_annotation")
    half = table.where(np.arange(0, len(rows), 2))
    assert [row.token for row in half] == [row["token"] for row in rows[::2]]
    for number, row in enumerate(rows):
        assert (row["token"] in half) == (number % 2 == 0)
        assert row["token"] in table
    assert half[rows[4]["token"]] == table.at(4)
