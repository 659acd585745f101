"""From benchmark items to graded answers: prompts, chat template, asking, parsing, metrics."""
