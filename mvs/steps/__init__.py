"""What the pipeline strings together: stages with their results kept, written and noted."""
