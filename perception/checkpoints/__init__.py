"""Weights: the native format, and importers for public checkpoints."""
