"""Point tracks from videos and COLMAP captures: matched points of two pictures of one person."""
