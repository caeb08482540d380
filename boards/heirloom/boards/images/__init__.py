"""What goes into a board's flash: partition tables, app images, otadata, UF2, littlefs; read, checked and written.

Everything here takes and gives `bytes`. What is wrong with them is an `ImageError`, a sentence for people.
"""
