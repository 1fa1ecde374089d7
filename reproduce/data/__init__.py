"""CIFAR-10 as uint8 tensors on the training device, and the keyed stream of batches drawn from them."""
