"""Ways to fuse, trained alike, scored alike and put into one table: what tools/compare.py does."""
