"""What every other room may use: files, errors, the console, devices and processes."""
