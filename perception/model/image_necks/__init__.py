"""Image necks, one a file: `Settings(name=...).build(in_channels, in_strides)` gives a module.

Contract: the backbone's list of feature maps -> one map (N, C, H / stride, W / stride); the module tells `out_channels`
and `stride`.
"""
