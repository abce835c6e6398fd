"""What stands and moves in the streets, as coloured triangles: one file a kind of thing."""
