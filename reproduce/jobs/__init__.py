"""Many trainings: in turn, in parallel, on a cluster; what they need and how far they are."""
