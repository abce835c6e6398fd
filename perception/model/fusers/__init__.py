"""Fusers, one a file: camera BEV and LiDAR BEV to one BEV map.

`Settings(name=...).build(camera_channels, lidar_channels)` gives a module. Contract: two maps (B, C, X, Y) of the same
X and Y -> (B, out_channels, X, Y). A frame whose sensor is missing comes as zeros in that sensor's map.

A fuser with a loss of its own has `auxiliary(camera, lidar)`, which gives each term's total and count by name, from the
maps that it was given; training adds them, see perception/model/completion.py.
"""
