"""What a run says at its end, and the course that leads there. May import store, jobs and lower."""
