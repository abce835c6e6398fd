"""What several corruptions share: light, depth, air, what falls through it, and the pulses of a LiDAR."""
