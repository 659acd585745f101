"""What a person types on the host; no service imports it. May import all but worker."""
