"""A package or a model of the store to a repository on a model hub."""
