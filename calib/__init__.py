"""Where the cameras are: camera models, captures on disk, COLMAP models."""
