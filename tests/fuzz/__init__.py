"""Fuzzing: what strangers and operators may send, thrown at what reads it."""
