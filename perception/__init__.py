"""bevfuse: camera + LiDAR perception in bird's-eye view. Start reading at perception/detector.py."""
