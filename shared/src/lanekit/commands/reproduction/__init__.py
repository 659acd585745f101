"""The bundle from which a lane's package is made again: what it holds, and what is said where it differs."""
