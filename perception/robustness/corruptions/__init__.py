"""The corruptions: one file each, whose name is the corruption's."""
