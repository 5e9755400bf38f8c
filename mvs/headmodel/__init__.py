"""Morphable head models, and fitting them to pictures and reconstructions."""
