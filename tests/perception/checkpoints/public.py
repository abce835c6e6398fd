"""Small checkpoints as the public codes write them: the names and conventions there, written down independently."""

import re
from pathlib import Path

import torch
from torch import Tensor

from perception.config import load_config
from perception.model.network import Network

CONFIG = """
classes: [car, pedestrian]
grid: {lower: [-8, -8, -5], upper: [8, 8, 3], voxel: [0.5, 0.5, 0.2]}
points: {}
lidar_encoder: {name: sparse, stage_channels: [4, 6], down_padding_z: [1], out_channels: 8}
bev_decoder: {stage_channels: [8, 8], stage_layers: [1, 1], stage_strides: [1, 2], out_channels: [8, 8]}
head: {name: transfusion, hidden: 16, proposals: 10, attention_heads: 2, ffn_channels: 8}
"""

MMDETECTION3D = {
    r"lidar_branch\.encoder\.stem\.conv": "pts_middle_encoder.conv_input.0",
    r"lidar_branch\.encoder\.stem\.bn": "pts_middle_encoder.conv_input.1",
    r"lidar_branch\.encoder\.squeeze\.conv": "pts_middle_encoder.conv_out.0",
    r"lidar_branch\.encoder\.squeeze\.bn": "pts_middle_encoder.conv_out.1",
    r"lidar_branch\.encoder\.stages\.0\.2\.conv": "pts_middle_encoder.encoder_layers.encoder_layer1.2.0",
    r"lidar_branch\.encoder\.stages\.0\.2\.bn": "pts_middle_encoder.encoder_layers.encoder_layer1.2.1",
    r"lidar_branch\.encoder\.stages\.0": "pts_middle_encoder.encoder_layers.encoder_layer1",
    r"lidar_branch\.encoder\.stages\.1": "pts_middle_encoder.encoder_layers.encoder_layer2",
    r"bev_decoder\.blocks": "pts_backbone.blocks",
    r"bev_decoder\.deblocks": "pts_neck.deblocks",
    r"head\.decoder\.(self|cross)_attn": r"bbox_head.decoder.0.\1_attn.attn",
    r"head\.decoder\.(self|cross)_posembed": r"bbox_head.decoder.0.\1_posembed.position_embedding_head",
    r"head\.decoder\.ffn\.0": "bbox_head.decoder.0.ffn.layers.0.0",
    r"head\.decoder\.ffn\.2": "bbox_head.decoder.0.ffn.layers.1",
    r"head\.decoder\.norms": "bbox_head.decoder.0.norms",
    r"head\.predictors": "bbox_head.prediction_heads.0",
    r"head": "bbox_head",
}

MIT_HAN_LAB = {
    "img_backbone.": "encoders.camera.backbone.",
    "img_neck.": "encoders.camera.neck.",
    "view_transform.": "encoders.camera.vtransform.",
    "pts_middle_encoder.": "encoders.lidar.backbone.",
    "fusion_layer.": "fuser.",
    "pts_backbone.": "decoder.backbone.",
    "pts_neck.": "decoder.neck.",
    "bbox_head.": "heads.object.",
    ".self_attn.attn.": ".self_attn.",
    ".cross_attn.attn.": ".multihead_attn.",
    "decoder.0.ffn.layers.0.0.": "decoder.0.linear1.",
    "decoder.0.ffn.layers.1.": "decoder.0.linear2.",
    "decoder.0.norms.0.": "decoder.0.norm1.",
    "decoder.0.norms.1.": "decoder.0.norm2.",
    "decoder.0.norms.2.": "decoder.0.norm3.",
}


def write_config(folder: Path, text: str = CONFIG) -> Path:
    path = folder / "small.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def random_weights(config: Path, seed: int = 0) -> dict[str, Tensor]:
    """Weights of the configuration's network by our names."""
    generator = torch.Generator().manual_seed(seed)
    with torch.device("meta"):
        shapes = Network(load_config(config)).state_dict()
    return {
        name: torch.randn(tensor.shape, generator=generator) if tensor.is_floating_point() else torch.tensor(7)
        for name, tensor in shapes.items()
    }


def as_mmdetection3d(native: dict[str, Tensor]) -> dict[str, Tensor]:
    return {_renamed(name, MMDETECTION3D): tensor for name, tensor in native.items()}


def as_mit_han_lab(mmdetection3d: dict[str, Tensor]) -> dict[str, Tensor]:
    """Their names, sparse weights as (kx, ky, kz, Cin, Cout), and boxes (w, l, h) with yaw = -ours - pi / 2."""
    theirs = {}
    for name, tensor in mmdetection3d.items():
        if name.startswith("bbox_head.prediction_heads.0.dim.1."):
            tensor = torch.stack([tensor[1], tensor[0], tensor[2]])
        if name.startswith("bbox_head.prediction_heads.0.rot.1."):
            sine, cosine = tensor
            tensor = torch.stack([-cosine, -sine])
        for ours, old in MIT_HAN_LAB.items():
            name = name.replace(ours, old)
        theirs[name] = spconv1(tensor) if tensor.ndim == 5 else tensor
    return theirs


def spconv1(weight: Tensor) -> Tensor:
    return torch.movedim(weight, 0, -1).contiguous()


def _renamed(name: str, rules: dict[str, str]) -> str:
    for pattern, replacement in rules.items():
        if re.match(rf"{pattern}\.", name):
            return re.sub(rf"^{pattern}", replacement, name)
    raise AssertionError(name)
