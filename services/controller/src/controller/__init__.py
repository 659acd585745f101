"""The controller: drives runs, and sets up the stores."""
