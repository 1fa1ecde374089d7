"""Trained or published weights are tested by the protocols of the paper."""
