"""The WorldAgen network: configuration, token layout, mask, and the modules that turn tokens into actions and pictures."""
