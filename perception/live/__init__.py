"""The live node: streams in, detections out, whatever the sensors do.

    core.py         measurements in, frames out; knows nothing of ROS
    hearing.py      messages -> measurements, poses and calibration; what is of no use is counted
    choice.py       which bundle becomes the next frame
    health.py       nominal, degraded or blind, and since when
    tally.py        what came on a topic, and what of it was of no use
    calibrated.py   where sensors sit and how cameras image, and what changed of it
    reports.py      detections as JSON, and the node's state as diagnostics
    messages.py     the same as ROS messages
    node.py         subscriptions, publishers and threads around all of it: the only file that needs rclpy

Two threads: one hears messages and keeps the synchroniser's books, the other makes frames and detects. Between them
lie a few bundles, of which the newest that is good for a frame wins.
"""
