"""All that travels through Redis. May import sources, plan and lower."""
