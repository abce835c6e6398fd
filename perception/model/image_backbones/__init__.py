"""Image backbones, one a file: `Settings(name=...).build()` gives a module.

Contract: images (N, 3, H, W) float32, normalised -> a list of feature maps (N, C_i, H_i, W_i), finest first; the module
tells their widths as `out_channels` and their scales as `strides` (H_i = H / stride_i). One that can start from
published weights has `load_pretrained()`, which training calls and inference doesn't.
"""
