"""Recorded drives as streams of ROS 2 messages, with faults put in: what tools/replay.py does.

    stream.py     what a stream is
    nuscenes.py   a drive of a nuScenes root as a stream
    faults.py     drops, delays, dead sensors, wrong clocks, broken data
    play.py       a stream at the pace of a clock
    publish.py    a stream on ROS topics

A rosbag2 (perception/ros/bags.py) is a stream too.
"""
