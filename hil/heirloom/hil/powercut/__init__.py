"""Power cuts, by brute force: every instant at which the power can fail, and what a device makes of it.

One run of a device is recorded, flash operation by flash operation (`SimDevice.record_flash`). From the record follows
what the flash holds at any cut: before an operation, after it, or inside it, with a part of the bytes or of the bits
(`cuts`). Real littlefs reads that flash: what is there must be a whole release, and nothing may have gone back
(`facts`). Then a device starts from it, in a fresh process with nothing but the flash, and must reach the end
(`sweep`). Its start is recorded as well: a second cut there makes a pair.

Flashes that hold the same files, as littlefs reads them, are started once: the client sees the flash through littlefs
only. What is left out of that comparison is what changes from start to start: the log, the number of starts, and the
time of the last check.
"""
