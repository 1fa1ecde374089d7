"""Images behind LightningDataModules: the batch of any iteration, from keyed draws."""
