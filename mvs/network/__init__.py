"""Networks that give every pixel of a picture its place in the canonical cube."""
