"""The ranker: the score table and the packages."""
