"""gRPC and protobuf, turned into core values and back."""
