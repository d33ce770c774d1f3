"""What runs on the device: Python 3.6 and its standard library, nothing else. The host imports the same modules."""
