"""One stage run here, in a warm child that a keeper ends; the embedded driver. May import store and lower."""
