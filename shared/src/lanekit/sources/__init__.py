"""Names of the outside (hub ids, paths, locks) into digests. May import spec and lower."""
