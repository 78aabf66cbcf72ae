"""The control plane: configuration in, exact deltas and certificates out."""
