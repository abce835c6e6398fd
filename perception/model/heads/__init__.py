"""Detection heads, one a file: a BEV map to boxes.

`Settings(name=...).build(in_channels, grid, class_names)` gives a module. Contract: `forward(bev)` with bev
(B, C, X, Y) returns the head's own frozen dataclass of raw outputs, which has a `heatmap` of class logits
(B, classes, X, Y); `decode(outputs)` turns it into one Boxes3D a frame, in the lidar frame.
"""
