"""Refiners, one a file: what looks at found boxes once more, in the images as they were taken.

`Settings(name=...).build(classes)` gives a module. Contract: `refine(frame, boxes)` with the frame's cameras and boxes
in its lidar frame -> boxes in that frame, of which those that no camera sees are as they were.
"""
