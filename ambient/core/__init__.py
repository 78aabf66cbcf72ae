"""Every decision, pure: no await, clock, socket or log."""
