"""Multi-view stereo for human heads through dense canonical correspondences."""
