"""Every metric, access log line and admin endpoint."""
