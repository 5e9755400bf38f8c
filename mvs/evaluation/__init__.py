"""Results against ground truth."""
