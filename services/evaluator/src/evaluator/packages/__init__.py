"""A package as it was handed over: unzipped safely, looked at."""
