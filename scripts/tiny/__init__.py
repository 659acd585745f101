"""A seeded invented world, the data sets made from it, and the tiny model that learns it."""
