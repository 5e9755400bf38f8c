"""What the cube makes possible: regions and landmarks of any head by their canonical places."""
