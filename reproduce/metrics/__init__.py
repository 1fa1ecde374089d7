"""What is counted on test images: errors and average precision."""
