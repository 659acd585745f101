"""What crosscheck_lm_eval.py compares: both tools' answers to the same items, and why they differ."""
