"""Head models posed, shaded and rendered: the training data and the sample capture."""
