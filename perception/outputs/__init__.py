"""What becomes of detections: one file an output."""
