"""Training of the shipped network on rendered heads."""
