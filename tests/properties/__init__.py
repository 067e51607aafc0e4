"""Properties: what holds for every input, by hypothesis."""
