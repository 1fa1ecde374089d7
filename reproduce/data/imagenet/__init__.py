"""ImageNet: archives, folders and shards; decoded by workers, cropped, normalised."""
