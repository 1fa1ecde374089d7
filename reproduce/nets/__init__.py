"""The nets of the paper: `residual` builds plain and residual nets, `published` reads weights into them."""
