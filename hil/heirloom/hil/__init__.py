"""Hardware in the loop: simulated devices, provisioning, the device commands and the demonstration."""
