"""ROS 2 messages and what they become here, without ROS: nothing in here imports rclpy.

    fields.py     header stamps and byte arrays, which differ from one library to the next
    clouds.py     PointCloud2
    images.py     Image, CompressedImage
    cameras.py    CameraInfo
    poses.py      Transform, Odometry
    frames.py     the tree of frames that /tf and /tf_static make
    codec.py      messages from bytes and back, by rosbags
    bags.py       rosbag2 folders, .mcap and .db3 files
    rig_file.py   which topic is which sensor: the LiveRig

Messages are told by their attributes, so those of rclpy and those of rosbags are as good.
"""
