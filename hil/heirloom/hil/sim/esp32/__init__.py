"""What a simulated ESP32 has beside MicroPython: the bootloader's choice and the ROM's loader."""
