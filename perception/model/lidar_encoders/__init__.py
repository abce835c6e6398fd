"""LiDAR encoders, one a file: the clouds' voxels to a BEV map.

`Settings(name=...).build(in_channels, grid)` gives a module. Contract: features (V, in_channels) of the voxels, each
the mean of its points, their places (V, 4) int64 (frame, x, y, z on the GridSettings `grid`) and the number of frames
-> (B, out_channels, X / stride, Y / stride). A frame without a voxel gets zeros.
"""
