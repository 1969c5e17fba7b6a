"""Measurements: the yardstick, the harness that compares with it, and the workloads."""
