"""Measurements, side by side in one run; `scripts/bench` runs them."""
