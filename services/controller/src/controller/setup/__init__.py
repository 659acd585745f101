"""Buckets and accounts, made once with root's keys: python -m controller.setup."""
