"""The tables as CSV, Markdown, HTML and pictures."""
