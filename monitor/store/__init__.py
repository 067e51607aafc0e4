"""The durable journal and everything that follows from it, behind one protocol."""
