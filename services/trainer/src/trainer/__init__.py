"""The trainer: fetching, fine-tuning, pruning, distillation."""
