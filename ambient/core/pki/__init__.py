"""Certificates as values: request, issue, verify, bundle, rotation."""
