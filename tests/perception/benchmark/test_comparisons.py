"""Comparisons: both sides do the same work and get the same, and what can't be compared is refused."""

from __future__ import annotations

import importlib
from collections.abc import Iterable

import pytest
import torch

from calibration.errors import InputError
from perception.benchmark import comparing, kernels
from perception.benchmark.comparing import Comparison, relative_rms, take_turns
from perception.benchmark.comparisons import devkit, reference, spconv
from perception.config import plugin_names
from tests.perception.benchmark.subjects import PILLARS, tiny_subject


def rounds(what: str) -> Iterable[int]:
    return range(2)


def by_name(compared: list[Comparison]) -> dict[str, Comparison]:
    assert all(len(c.ours_s) == len(c.theirs_s) == 2 for c in compared)
    assert all(min(*c.ours_s, *c.theirs_s) > 0 for c in compared)
    return {c.what: c for c in compared}


@pytest.mark.parametrize("name", plugin_names("perception.benchmark.comparisons"))
def test_every_peer_is_refused_where_its_package_is_missing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparing.importlib.util, "find_spec", lambda package: None)
    peer = importlib.import_module(f"perception.benchmark.comparisons.{name}")
    with pytest.raises(InputError, match="pip install"):
        peer.require(tiny_subject().detector.config)


def test_turns_are_taken_one_after_the_other_after_once_unmeasured() -> None:
    order = []
    turns = take_turns(lambda: order.append("ours"), lambda: order.append("theirs"), range(2))
    assert order == ["ours", "theirs"] * 3
    assert len(turns.ours_s) == len(turns.theirs_s) == 2


def test_the_ratio_is_of_the_medians() -> None:
    assert Comparison("work", "peer", (1.0, 2.0, 90.0), (6.0, 4.0, 5.0)).ratio == pytest.approx(2.5)


def test_the_difference_is_relative() -> None:
    assert relative_rms(torch.tensor([3.0, 4.4]), torch.tensor([3.0, 4.0])) == pytest.approx(0.4 / 5)
    assert relative_rms(torch.zeros(2), torch.zeros(2)) == 0


def test_spconv_gets_the_same_from_the_encoder_and_the_voxels(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("spconv")
    monkeypatch.setattr(kernels, "BOXES", 100)
    threads, subject = torch.get_num_threads(), tiny_subject()
    compared = by_name(spconv.compare(subject.detector, subject.read(), rounds))
    assert list(compared) == [
        "sparse encoder, fp32",
        "its rulebooks",
        "its convolutions and norms",
        "sparse encoder, bf16",
        "voxelisation",
        "BEV pooling",
        "BEV pooling, its plan kept",
        "BEV pooling, there and back",
        "rotated NMS",
    ]
    assert compared["sparse encoder, fp32"].difference < 1e-5
    assert 1e-5 < compared["sparse encoder, bf16"].difference < 0.05
    assert compared["voxelisation"].difference < 1e-6
    assert compared["BEV pooling"].difference < 1e-5
    assert compared["BEV pooling, there and back"].difference < 1e-5
    assert "the same there" in compared["rotated NMS"].note
    assert torch.get_num_threads() == threads
    network = subject.detector.network
    assert network.lidar_branch.encoder.precision == torch.float32
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_without_cameras_there_is_nothing_to_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("spconv")
    monkeypatch.setattr(kernels, "BOXES", 100)
    subject = tiny_subject(cameras=False)
    compared = by_name(spconv.compare(subject.detector, subject.read(), rounds))
    assert not any("pooling" in what for what in compared)


@pytest.mark.parametrize(
    ("parts", "word"), [({"lidar_encoder": PILLARS}, "pillars"), ({"lidar": False}, "none")], ids=["pillars", "camera"]
)
def test_without_sparse_convolutions_there_is_nothing_to_compare_with_spconv(parts: dict, word: str) -> None:
    with pytest.raises(InputError, match=word):
        spconv.require(tiny_subject(**parts).detector.config)


def test_the_development_kit_scores_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("nuscenes")
    monkeypatch.setattr(devkit, "SAMPLES", 2)
    scored = devkit._compare_scoring(rounds)
    assert len(scored.ours_s) == len(scored.theirs_s) == 2
    apart = float(scored.note.split("at most ")[1].split()[0])
    assert apart < 1e-9


def test_the_development_kit_opens_the_same_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("nuscenes")
    monkeypatch.setattr(devkit, "SCENES", 1)
    opened = devkit._compare_opening(lambda what: range(1))
    assert min(*opened.ours_s, *opened.theirs_s) > 0
    assert "1 scenes" in opened.note


def test_mmdetection3d_gets_the_same_from_every_stage_that_both_have() -> None:
    pytest.importorskip("mmdet3d")
    encoder = {"name": "sparse", "stage_channels": [4, 8], "down_padding_z": [1], "out_channels": 8}
    subject = tiny_subject(encoder)
    reference.require(subject.detector.config)
    compared = by_name(reference.compare(subject.detector, subject.read(), rounds))
    whole = ["whole network, fp32", "whole network, fp32, less the pooling", "whole network, bf16"]
    assert list(compared) == ["image backbone", "sparse encoder", "voxelise", "BEV decoder", *whole]
    assert compared[whole[1]].difference is None
    assert 1e-5 < compared[whole[2]].difference < 0.05
    assert all(compared[name].difference < 1e-5 for name in compared if name not in whole[1:])
