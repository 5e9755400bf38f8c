"""Many frames on one or many machines: sequences of one calibration."""
