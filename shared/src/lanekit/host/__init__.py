"""This machine: its settings, devices, memory and logs. Imports errors alone."""
