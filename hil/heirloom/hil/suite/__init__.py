"""The life-cycle suite: what must hold on every device, whatever drives it."""
