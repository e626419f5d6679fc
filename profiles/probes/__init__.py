"""How edgekit reaches a device: transports that copy files and run commands, and the runner it sends."""
