"""Names of the public BEVFusion checkpoints of mmdetection3d (projects/BEVFusion), and what they are here."""

from __future__ import annotations

import re

from perception.checkpoints.layout import Layout

# Rewritten from top to bottom; each rule sees what the ones above it made.
_RULES = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"^vtransform\.", "view_transform."),  # published files from before it was renamed there: issue 2892
        (r"^img_backbone\.norm(\d)\.", r"camera_branch.backbone.norms.\1."),
        (r"^img_backbone\.", "camera_branch.backbone."),
        (r"\.attn\.w_msa\.", ".attn."),
        (r"^(camera_branch\.backbone\..*)\.ffn\.layers\.0\.0\.", r"\1.mlp.0."),
        (r"^(camera_branch\.backbone\..*)\.ffn\.layers\.1\.", r"\1.mlp.2."),
        (r"^img_neck\.", "camera_branch.neck."),
        (r"^view_transform\.dtransform\.", "camera_branch.view_transform.depth_encoder."),
        (r"^view_transform\.depthnet\.", "camera_branch.view_transform.depth_net."),
        (r"^view_transform\.", "camera_branch.view_transform."),
        (r"^pts_middle_encoder\.conv_input\.0\.", "lidar_branch.encoder.stem.conv."),
        (r"^pts_middle_encoder\.conv_input\.1\.", "lidar_branch.encoder.stem.bn."),
        (r"^pts_middle_encoder\.encoder_layers\.encoder_layer(\d)\.2\.0\.", r"lidar_branch.encoder.stages.\1.2.conv."),
        (r"^pts_middle_encoder\.encoder_layers\.encoder_layer(\d)\.2\.1\.", r"lidar_branch.encoder.stages.\1.2.bn."),
        (r"^pts_middle_encoder\.encoder_layers\.encoder_layer(\d)\.", r"lidar_branch.encoder.stages.\1."),
        (r"^pts_middle_encoder\.conv_out\.0\.", "lidar_branch.encoder.squeeze.conv."),
        (r"^pts_middle_encoder\.conv_out\.1\.", "lidar_branch.encoder.squeeze.bn."),
        (r"^fusion_layer\.0\.", "fuser.mix.conv."),
        (r"^fusion_layer\.1\.", "fuser.mix.bn."),
        (r"^pts_backbone\.", "bev_decoder."),
        (r"^pts_neck\.", "bev_decoder."),
        (r"^bbox_head\.decoder\.0\.(self_attn|cross_attn)\.attn\.", r"head.decoder.\1."),
        (r"^bbox_head\.decoder\.0\.ffn\.layers\.0\.0\.", "head.decoder.ffn.0."),
        (r"^bbox_head\.decoder\.0\.ffn\.layers\.1\.", "head.decoder.ffn.2."),
        (r"^bbox_head\.decoder\.0\.(\w+_posembed)\.position_embedding_head\.", r"head.decoder.\1."),
        (r"^bbox_head\.decoder\.0\.", "head.decoder."),
        (r"^bbox_head\.prediction_heads\.0\.", "head.predictors."),
        (r"^bbox_head\.", "head."),
    )
)
_STAGE = re.compile(r"^(lidar_branch\.encoder\.stages\.)(\d)")

# Constants that follow from the configuration; we compute them.
_DERIVED = re.compile(r"^(view_transform|vtransform)\.(dx|bx|nx|frustum)$|\.relative_position_index$")


def native_name(name: str) -> str | None:
    """Our name of a tensor called `name` there, or None if it is a constant that we derive."""
    if _DERIVED.search(name):
        return None
    for pattern, replacement in _RULES:
        name = pattern.sub(replacement, name)
    return _STAGE.sub(lambda match: f"{match[1]}{int(match[2]) - 1}", name)  # they count stages from 1


LAYOUT = Layout(
    name="mmdetection3d",
    marks=frozenset({"img_backbone", "img_neck", "pts_middle_encoder", "pts_backbone", "pts_neck"}),
    native_name=native_name,
)
