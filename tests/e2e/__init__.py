"""Tests that run the whole product as its users do."""
