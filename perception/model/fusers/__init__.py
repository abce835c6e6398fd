"""Fusers, one a file: camera BEV and LiDAR BEV to one BEV map.

`Settings(name=...).build(camera_channels, lidar_channels)` gives a module. Contract: two maps (B, C, X, Y) of the same
X and Y -> (B, out_channels, X, Y). A frame whose sensor is missing comes as zeros in that sensor's map.
"""
