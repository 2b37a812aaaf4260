"""Measurements: one module per command line of tools/benchmark."""
