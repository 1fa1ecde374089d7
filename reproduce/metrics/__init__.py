"""What is counted on test images: errors, and later average precision."""
