"""The shared L4 proxy: a parent that holds credentials and snapshot, and workers that meet bytes."""
