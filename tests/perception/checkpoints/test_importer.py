"""Public names, layouts and conventions become ours, whatever a trainer wrapped around them."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from calibration.errors import InputError
from perception.checkpoints import mit_han_lab, mmdetection3d
from perception.checkpoints.importer import import_checkpoint, in_our_sparse_layout, rank, recognise
from perception.checkpoints.report import report
from tests.perception.checkpoints.public import (
    CONFIG,
    as_mit_han_lab,
    as_mmdetection3d,
    random_weights,
    spconv1,
    write_config,
)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_config(tmp_path_factory.mktemp("config"))


@pytest.fixture(scope="module")
def native(config: Path) -> dict[str, Tensor]:
    return random_weights(config)


@pytest.fixture(scope="module")
def public(native: dict[str, Tensor]) -> dict[str, Tensor]:
    return as_mmdetection3d(native)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[object], Path]:
    def write(content: object) -> Path:
        torch.save(content, tmp_path / "public.pth")
        return tmp_path / "public.pth"

    return write


def assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert set(found) == set(expected)
    different = [name for name, tensor in expected.items() if not torch.equal(found[name], tensor)]
    assert not different


class TestWrapping:
    @pytest.mark.parametrize("key", [None, "state_dict", "model", "model_state"])
    @pytest.mark.parametrize("prefix", ["", "module.", "model.", "module.model."])
    def test_makes_no_difference(self, key: str | None, prefix: str, native, public, config, write) -> None:
        weights = {prefix + name: tensor for name, tensor in public.items()}
        imported = import_checkpoint(write(weights if key is None else {"meta": {}, key: weights}), [config])
        assert imported.comparison.complete
        assert_equal(imported.weights, native)

    def test_running_averages_beside_the_weights_are_left_out_with_a_note(self, native, public, config, write) -> None:
        shadows = {f"ema_{name.replace('.', '_')}": tensor + 1 for name, tensor in public.items()}
        imported = import_checkpoint(write({"state_dict": {**public, **shadows}}), [config])
        assert_equal(imported.weights, native)
        assert f"{len(public)} running averages (ema_*)" in imported.skipped

    def test_constants_that_we_derive_are_left_out_with_a_note(self, native, public, config, write) -> None:
        constants = ("view_transform.dx", "view_transform.frustum", "vtransform.bx", "vtransform.nx")
        constants += ("img_backbone.stages.0.blocks.0.attn.w_msa.relative_position_index",)
        imported = import_checkpoint(write({**public, **dict.fromkeys(constants, torch.ones(3))}), [config])
        assert imported.comparison.complete
        assert "5 constants that follow from the configuration" in imported.skipped

    def test_a_weight_that_is_there_twice_is_an_error(self, public, config, write) -> None:
        name = "bbox_head.shared_conv.bias"
        with pytest.raises(InputError, match=rf"every weight once, got {name} and module\.{name}"):
            import_checkpoint(write({**public, f"module.{name}": public[name]}), [config])

    def test_half_precision_becomes_single(self, native, public, config, write) -> None:
        halves = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in public.items()}
        imported = import_checkpoint(write(halves), [config])
        assert {tensor.dtype for tensor in imported.weights.values()} == {torch.float32, torch.int64}
        assert_equal(imported.weights, {name: t.half().to(t.dtype) for name, t in native.items()} | integers(native))
        assert f"{len(native) - len(integers(native))} tensors to float32" in imported.converted


def integers(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in weights.items() if not tensor.is_floating_point()}


class TestSparseLayout:
    def test_of_older_sparse_convolutions_is_turned_into_ours(self, native, public, config, write) -> None:
        older = {name: spconv1(tensor) if tensor.ndim == 5 else tensor for name, tensor in public.items()}
        imported = import_checkpoint(write(older), [config])
        assert_equal(imported.weights, native)
        assert imported.converted == ("11 sparse convolution weights from (kx, ky, kz, Cin, Cout)",)

    @pytest.mark.parametrize(
        "shape",
        [(16, 3, 3, 3, 5), (16, 3, 3, 3, 16), (32, 3, 3, 3, 16), (128, 1, 1, 3, 128), (3, 3, 3, 3, 5), (8, 1, 1, 3, 1)],
    )
    def test_is_told_by_the_shape_alone(self, shape: tuple[int, ...]) -> None:
        weight = torch.arange(float(torch.Size(shape).numel())).view(shape)
        expected = {"w": torch.empty(shape, device="meta")}
        for stored, permuted in ((weight, ()), (spconv1(weight), ("w",))):
            found, names = in_our_sparse_layout({"w": stored}, expected)
            assert torch.equal(found["w"], weight)
            assert names == permuted

    def test_is_told_by_the_rest_of_the_file_where_all_sizes_are_equal(self) -> None:
        cube, other = torch.randn(3, 3, 3, 3, 3), torch.randn(8, 3, 3, 3, 3)
        expected = {"cube": cube.to("meta"), "other": other.to("meta")}
        for stored in ({"cube": cube, "other": other}, {"cube": spconv1(cube), "other": spconv1(other)}):
            found, _ = in_our_sparse_layout(stored, expected)
            assert torch.equal(found["cube"], cube)
            assert torch.equal(found["other"], other)

    def test_leaves_what_fits_neither_way(self) -> None:
        expected = {"w": torch.empty(16, 3, 3, 3, 5, device="meta")}
        odd = {"w": torch.zeros(3, 3, 3, 16, 5)}
        assert in_our_sparse_layout(odd, expected) == (odd, ())


class TestMitHanLab:
    def test_checkpoints_become_the_very_same_weights(self, native, public, config, write) -> None:
        imported = import_checkpoint(write({"state_dict": as_mit_han_lab(public)}), [config])
        assert imported.layout.name == "mit-han-lab"
        assert imported.comparison.complete
        assert_equal(imported.weights, native)
        assert imported.converted == (
            "11 sparse convolution weights from (kx, ky, kz, Cin, Cout)",
            "4 tensors of the box head: boxes from (w, l, h) and clockwise yaw to (l, w, h) and counter-clockwise yaw",
        )

    def test_boxes_keep_their_place_in_the_world(self, public, config, write) -> None:
        """Theirs point to -yaw - pi / 2, with the width before the length."""
        old = as_mit_han_lab(public)
        new = import_checkpoint(write(old), [config]).weights
        features = torch.randn(64, 100, generator=torch.Generator().manual_seed(1))

        def predict(weights: dict[str, Tensor], name: str) -> Tensor:
            return weights[f"{name}.weight"][..., 0] @ features + weights[f"{name}.bias"][:, None]

        width, length, height = predict(old, "heads.object.prediction_heads.0.dim.1")
        torch.testing.assert_close(predict(new, "head.predictors.dim.1"), torch.stack([length, width, height]))
        old_yaw = torch.atan2(*predict(old, "heads.object.prediction_heads.0.rot.1"))
        new_yaw = torch.atan2(*predict(new, "head.predictors.rot.1"))
        turn = new_yaw - (-old_yaw - torch.pi / 2)
        torch.testing.assert_close(turn.cos(), torch.ones(100))

    def test_camera_only_detectors_have_no_configuration(self, public, write) -> None:
        names = ("encoders.camera.vtransform.depthnet.weight", "decoder.neck.x", "heads.object.task_heads.0.reg.0.bias")
        with pytest.raises(InputError, match=r"cameras only \(CenterHead and LSS\), which has no configuration here"):
            import_checkpoint(write({"state_dict": dict.fromkeys(names, torch.ones(1))}), [])

    def test_map_segmentation_has_no_configuration(self, write) -> None:
        names = ("encoders.lidar.backbone.conv_input.0.weight", "heads.map.classifier.0.weight")
        with pytest.raises(InputError, match="map segmentation, which has no configuration here"):
            import_checkpoint(write(dict.fromkeys(names, torch.ones(1))), [])


class TestLayout:
    def test_is_recognised_by_top_level_names(self, public) -> None:
        assert recognise(public, "x") is mmdetection3d.LAYOUT
        assert recognise(as_mit_han_lab(public), "x") is mit_han_lab.LAYOUT

    def test_that_is_unknown_is_an_error_with_the_names_found(self, write) -> None:
        weights = {"backbone.a": torch.ones(1), "backbone.b": torch.ones(1), "rpn_head.c": torch.ones(1)}
        with pytest.raises(
            InputError, match=r"mmdetection3d or mit-han-lab, got the top-level names backbone, rpn_head"
        ):
            import_checkpoint(write(weights), [])

    def test_view_transform_of_the_first_published_files_is_found_under_its_older_name(self) -> None:
        """In mmdetection3d itself they load into nothing: issue 2892."""
        older, newer = "vtransform.depthnet.0.weight", "view_transform.depthnet.0.weight"
        assert mmdetection3d.native_name(older) == mmdetection3d.native_name(newer)
        assert mmdetection3d.native_name(newer) == "camera_branch.view_transform.depth_net.0.weight"


class TestConfiguration:
    def test_is_the_one_whose_network_has_the_same_tensors(self, native, tmp_path: Path) -> None:
        variants = {"wider": CONFIG.replace("hidden: 16", "hidden: 32"), "right": CONFIG}
        variants["three_classes"] = CONFIG.replace("[car, pedestrian]", "[car, pedestrian, bus]")
        variants["two_blocks_more"] = CONFIG.replace("stage_layers: [1, 1]", "stage_layers: [2, 2]")
        paths = {name: tmp_path / f"{name}.yaml" for name in variants}
        for name, text in variants.items():
            paths[name].write_text(text, encoding="utf-8")
        best, *others = rank(paths.values(), native)
        assert best.config == paths["right"]
        assert best.comparison.complete
        assert not any(fit.comparison.complete for fit in others)

    def test_others_with_the_same_tensors_are_named(self, public, tmp_path: Path, write, monkeypatch) -> None:
        (tmp_path / "b.yaml").write_text(CONFIG, encoding="utf-8")
        (tmp_path / "a.yaml").write_text(CONFIG.replace("points: {}", "points: {sweeps: 0}"), encoding="utf-8")
        (tmp_path / "c.yaml").write_text(CONFIG.replace("hidden: 16", "hidden: 32"), encoding="utf-8")
        monkeypatch.chdir(tmp_path)
        imported = import_checkpoint(write(public), sorted(tmp_path.glob("*.yaml")))
        assert (imported.config, imported.as_good) == (tmp_path / "a.yaml", (tmp_path / "b.yaml",))
        assert "configuration: a.yaml\n  the same tensors as b.yaml\nloaded: " in report(imported)

    def test_that_is_missing_altogether_is_an_error(self, public, write) -> None:
        with pytest.raises(InputError, match="give one with --config"):
            import_checkpoint(write(public), [])
