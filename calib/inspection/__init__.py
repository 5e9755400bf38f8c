"""What a capture is and what will hurt: cameras, poses, lenses and pictures, checked and named."""
