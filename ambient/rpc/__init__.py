"""gRPC and protobuf, turned into core values and back."""

import os

# What gRPC writes to standard error by itself is no line of our log; what it fails with is told by who asked.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
