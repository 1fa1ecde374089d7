"""Trains any task by iterations: the LightningModule, its schedule, callbacks and results."""
