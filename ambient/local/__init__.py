"""The whole mesh on one machine: its programs started, kept running and ended in order."""
