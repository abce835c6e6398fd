"""Detection heads, one a file: a BEV map to boxes.

`Settings(name=...).build(in_channels, grid, class_names)` gives a module. Contract: `forward(bev)` with bev (B, C, X,
Y) returns the head's own frozen dataclass of raw outputs, which has a `heatmap` of class logits (B, classes, X, Y);
`decode(outputs)` turns it into one Boxes3D a frame, in the lidar frame.

A head that looks at images too says so by `sees_images` in its Settings. Its `build` is then given the width of the
image features and images.size as well, together, and `forward` the features (N, C, h, w), None for no images, and the
batch. Without these it is as any other.
"""
