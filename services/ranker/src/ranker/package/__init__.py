"""What belongs in a package, its card, its zip."""
