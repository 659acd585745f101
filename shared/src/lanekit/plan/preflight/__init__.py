"""What can be known before the first stage, all of it at once. Pure: others read the files and the host."""
