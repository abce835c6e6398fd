"""Decorations of points, one a file: early fusion, before the LiDAR encoder.

`Settings(name=...).build(channels, stride, image_size)`, of the image features, gives a module. Contract: image
features (N, channels, h, w) of the batch's images, or None where it has none, points (V, 3) in the lidar frame, the
frame of each (V,) and the batch -> (V, out_channels) from 0 to 1, zeros for points that no image shows.
"""
