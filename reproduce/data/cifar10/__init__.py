"""CIFAR-10: downloaded, from a folder or drawn; whole in memory, augmented in batches."""
