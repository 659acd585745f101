"""The score, and which speeds may be compared for it. Pure."""
